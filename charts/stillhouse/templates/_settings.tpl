{{/* The controller's settings file: what it gives to the Jobs and students that it makes. */}}
{{- define "stillhouse.settings" -}}
{{- $name := include "stillhouse.fullname" . -}}
{{- $storeEnv := include "stillhouse.storeEnv" . | fromJsonArray -}}
{{- $tracingEnv := include "stillhouse.tracingEnv" . | fromJsonArray -}}
store: {{ include "stillhouse.storeUri" . }}
namespaces: {{ include "stillhouse.watched" . }}
images:
  {{- range $family := list "slim" "torch" "llama" }}
  {{ $family }}: {{ include "stillhouse.image" (dict "root" $ "family" $family) }}
  {{- end }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
imagePullSecrets: {{ toJson .Values.image.pullSecrets }}
serviceAccounts:
  teacher: {{ $name }}-teacher
  stage: {{ $name }}-stage
env: {{ concat $storeEnv $tracingEnv .Values.jobs.env | default list | toJson }}
envFrom: {{ concat (include "stillhouse.storeEnvFrom" . | fromJsonArray) .Values.jobs.envFrom | default list | toJson }}
teacherEnv: {{ include "stillhouse.teacherEnv" . }}
teacherEnvFrom: {{ include "stillhouse.teacherEnvFrom" . }}
teacherVolumes: {{ include "stillhouse.teacherVolumes" . }}
emulatorEndpoint: {{ include "stillhouse.emulatorEndpoint" . | quote }}
resources: {{ toJson .Values.jobs.resources }}
jobsPerDistillation: {{ .Values.jobs.perDistillation }}
{{- end -}}
