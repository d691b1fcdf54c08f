{{/* Parts of NetworkPolicies. */}}

{{/* Head of one: (dict "root" $ "namespace" NS "suffix" "default-deny" "component" "stage"). */}}
{{- define "stillhouse.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "stillhouse.fullname" .root }}-{{ .suffix }}
  namespace: {{ .namespace }}
  labels:
    {{- include "stillhouse.labels" (dict "root" .root "component" "network") | nindent 4 }}
{{- end -}}

{{/* Ports as a JSON list of TCP ports. */}}
{{- define "stillhouse.tcp" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $ports = append $ports (dict "protocol" "TCP" "port" (int .)) -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{/* Pods of any of these components: a list of names. Jobs and services of a stage have the same component. */}}
{{- define "stillhouse.components" -}}
matchLabels: {app.kubernetes.io/name: stillhouse}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: {{ toJson . }}}
{{- end -}}

{{/* An egress rule to peers of the values: (dict "to" LIST "ports" LIST). */}}
{{- define "stillhouse.egress" -}}
- {{ with .to }}to: {{ toJson . }}
  {{ end }}ports: {{ include "stillhouse.tcp" .ports }}
{{- end -}}

{{/* Components that read or write the store. */}}
{{- define "stillhouse.storeUsers" -}}
{{- list "controller" "dataset-builder" "teacher-generator" "trainer" "exporter" "evaluator" "optimizer" "student-inference" "install-test" | toJson -}}
{{- end -}}

{{/* Components that ask a teacher or a student. */}}
{{- define "stillhouse.askers" -}}
{{- list "teacher-generator" "evaluator" "optimizer" | toJson -}}
{{- end -}}

{{- define "stillhouse.storePorts" -}}
{{- $ports := .Values.networkPolicy.store.ports -}}
{{- if not $ports -}}
{{- $host := (urlParse .Values.store.endpoint).host -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- $ports = list ($port | default (hasPrefix "http://" .Values.store.endpoint | ternary 80 443)) -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}
