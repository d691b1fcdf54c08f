{{/* Names, labels and the parts that every pod has. */}}

{{- define "stillhouse.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "stillhouse" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-stillhouse" (.Release.Name | trunc 29 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* Namespaces whose Distillations are carried out, as a JSON list. */}}
{{- define "stillhouse.watched" -}}
{{- .Values.namespaces | default (list .Release.Namespace) | uniq | toJson -}}
{{- end -}}

{{/* Those and the release's own. */}}
{{- define "stillhouse.namespaces" -}}
{{- append (include "stillhouse.watched" . | fromJsonArray) .Release.Namespace | uniq | toJson -}}
{{- end -}}

{{/* One peer of a NetworkPolicy that stands for all watched namespaces; to be completed by a podSelector. */}}
{{- define "stillhouse.fromWatched" -}}
namespaceSelector:
  matchExpressions:
    - {key: kubernetes.io/metadata.name, operator: In, values: {{ include "stillhouse.namespaces" . }}}
{{- end -}}

{{/* What a selector may use: it never changes. Takes (dict "root" $ "component" NAME). */}}
{{- define "stillhouse.selector" -}}
app.kubernetes.io/name: stillhouse
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "stillhouse.labels" -}}
{{ include "stillhouse.selector" . }}
app.kubernetes.io/part-of: stillhouse
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The image of a family: (dict "root" $ "family" "slim"). */}}
{{- define "stillhouse.image" -}}
{{- $image := .root.Values.image -}}
{{- get $image .family | default (printf "%s/stillhouse-%s:%s" $image.prefix .family ($image.tag | default .root.Chart.AppVersion)) -}}
{{- end -}}

{{/* What the `restricted` Pod Security Standard asks of a pod and of each of its containers. */}}
{{- define "stillhouse.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "stillhouse.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where a pod goes: (dict "root" $ "values" THE_COMPONENTS_VALUES). */}}
{{- define "stillhouse.scheduling" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with get $.values $name }}
{{ $name }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "stillhouse.storeUri" -}}
{{- $store := .Values.store -}}
{{- if $store.uri -}}
{{- $store.uri -}}
{{- else if $store.development.enabled -}}
{{- printf "s3://%s" $store.development.bucket -}}
{{- else -}}
{{- fail "no store is named: set store.uri (s3://, gs:// or az://), or store.development.enabled=true to try things out" -}}
{{- end -}}
{{- end -}}

{{/* URL of the S3 server; empty: the cloud's own, or what the secret says. */}}
{{- define "stillhouse.storeEndpoint" -}}
{{- if .Values.store.development.enabled -}}
{{- printf "http://%s-object-store.%s.svc:7070" (include "stillhouse.fullname" .) .Release.Namespace -}}
{{- else -}}
{{- .Values.store.endpoint -}}
{{- end -}}
{{- end -}}

{{/* The secret with the store's credentials; empty: by identity. */}}
{{- define "stillhouse.storeSecret" -}}
{{- $store := .Values.store -}}
{{- if $store.existingSecret -}}
{{- $store.existingSecret -}}
{{- else if or $store.development.enabled $store.accessKeyId -}}
{{- printf "%s-store" (include "stillhouse.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* EnvVars that say where the store is, as a JSON list; empty where the secret that this chart makes says it. */}}
{{- define "stillhouse.storeEnv" -}}
{{- $env := list -}}
{{- $store := .Values.store -}}
{{- $made := and (not $store.existingSecret) (include "stillhouse.storeSecret" .) -}}
{{- if and (hasPrefix "s3://" (include "stillhouse.storeUri" .)) (not $made) -}}
{{- with include "stillhouse.storeEndpoint" . -}}
{{- $env = append $env (dict "name" "AWS_ENDPOINT_URL" "value" .) -}}
{{- if hasPrefix "http://" . -}}
{{- $env = append $env (dict "name" "AWS_ALLOW_HTTP" "value" "true") -}}
{{- end -}}
{{- end -}}
{{- with $store.region -}}
{{- $env = append $env (dict "name" "AWS_REGION" "value" .) -}}
{{- end -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{- define "stillhouse.storeEnvFrom" -}}
{{- $from := list -}}
{{- with include "stillhouse.storeSecret" . -}}
{{- $from = append $from (dict "secretRef" (dict "name" .)) -}}
{{- end -}}
{{- toJson $from -}}
{{- end -}}

{{- define "stillhouse.tracingEnv" -}}
{{- $env := list -}}
{{- with .Values.tracing.endpoint -}}
{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/* EnvVars, EnvFromSources and secret volumes of pods that ask a teacher, each as a JSON list. */}}
{{- define "stillhouse.teacherEnv" -}}
{{- $vertex := .Values.teacher.vertex -}}
{{- $env := list -}}
{{- with $vertex.project -}}
{{- $env = append $env (dict "name" "GOOGLE_CLOUD_PROJECT" "value" .) -}}
{{- end -}}
{{- if $vertex.keySecret -}}
{{- $env = append $env (dict "name" "GOOGLE_APPLICATION_CREDENTIALS" "value" (printf "/var/run/stillhouse/vertex/%s" $vertex.keyFile)) -}}
{{- end -}}
{{- concat $env .Values.teacher.env | default list | toJson -}}
{{- end -}}

{{- define "stillhouse.teacherEnvFrom" -}}
{{- $from := list -}}
{{- with .Values.teacher.existingSecret -}}
{{- $from = append $from (dict "secretRef" (dict "name" .)) -}}
{{- end -}}
{{- toJson $from -}}
{{- end -}}

{{- define "stillhouse.teacherVolumes" -}}
{{- $volumes := list -}}
{{- with .Values.teacher.vertex.keySecret -}}
{{- $volumes = append $volumes (dict "name" "vertex-key" "secretName" . "mountPath" "/var/run/stillhouse/vertex") -}}
{{- end -}}
{{- toJson $volumes -}}
{{- end -}}

{{- define "stillhouse.emulatorEndpoint" -}}
{{- if .Values.emulator.enabled -}}
{{- printf "http://%s-vertex-emulator.%s.svc:8080" (include "stillhouse.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}
