{{/* A gRPC service: Deployment, headless Service, PodDisruptionBudget.
     (dict "root" $ "component" "scorer" "module" "scorer" "family" "slim" "account" "stage" "store" false "values" V) */}}
{{- define "stillhouse.grpc" -}}
{{- $root := .root }}
{{- $rpc := $root.Values.rpc }}
{{- $name := printf "%s-%s" (include "stillhouse.fullname" $root) .component }}
{{- $part := dict "root" $root "component" .component }}
{{- $teaches := eq .account "teacher" }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "stillhouse.labels" $part | nindent 4 }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels:
      {{- include "stillhouse.selector" $part | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "stillhouse.labels" $part | nindent 8 }}
      {{- with .values.podAnnotations }}
      annotations: {{ toJson . }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "stillhouse.fullname" $root }}-{{ .account }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add $rpc.drainSeconds 15 }}
      {{- include "stillhouse.podSecurity" $root | nindent 6 }}
      {{- include "stillhouse.scheduling" (dict "root" $root "values" .values) | nindent 6 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "stillhouse.selector" $part | nindent 14 }}
      containers:
        - name: {{ .component }}
          image: {{ include "stillhouse.image" (dict "root" $root "family" .family) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [python, -m, stillhouse.{{ .module }}, serve]
          env:
            {{- include "stillhouse.grpcEnv" . | nindent 12 }}
          {{- $from := .store | ternary (include "stillhouse.storeEnvFrom" $root | fromJsonArray) list }}
          {{- if $teaches }}
          {{- $from = concat $from (include "stillhouse.teacherEnvFrom" $root | fromJsonArray) }}
          {{- end }}
          envFrom: {{ toJson $from }}
          ports:
            - {name: grpc, containerPort: 50051}
            - {name: metrics, containerPort: 9090}
          {{- range $probe, $times := dict "startupProbe" "periodSeconds: 2, failureThreshold: 60" "readinessProbe" "periodSeconds: 10" "livenessProbe" "periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 6" }}
          {{- if $rpc.tlsSecret }}
          # The kubelet's gRPC probe speaks no TLS; a server listens once it can serve.
          {{ $probe }}: {tcpSocket: {port: grpc}, {{ $times }}}
          {{- else }}
          {{ $probe }}: {grpc: {port: 50051}, {{ $times }}}
          {{- end }}
          {{- end }}
          # Endpoints forget a pod that ends only after a moment; until then it takes what is still sent to it.
          lifecycle: {preStop: {sleep: {seconds: 5}}}
          resources: {{ toJson .values.resources }}
          {{- include "stillhouse.containerSecurity" $root | nindent 10 }}
          volumeMounts:
            - {name: scratch, mountPath: /tmp}
            {{- if $rpc.tlsSecret }}
            - {name: tls, mountPath: /var/run/stillhouse/tls, readOnly: true}
            {{- end }}
            {{- if $teaches }}
            {{- range include "stillhouse.teacherVolumes" $root | fromJsonArray }}
            - {name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: true}
            {{- end }}
            {{- end }}
      volumes:
        - name: scratch
          emptyDir: {}
        {{- if $rpc.tlsSecret }}
        - name: tls
          secret: {secretName: {{ $rpc.tlsSecret }}}
        {{- end }}
        {{- if $teaches }}
        {{- range include "stillhouse.teacherVolumes" $root | fromJsonArray }}
        - name: {{ .name }}
          secret: {secretName: {{ .secretName }}}
        {{- end }}
        {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "stillhouse.labels" $part | nindent 4 }}
spec:
  # Headless: DNS gives a client every pod, and it balances over them (round_robin).
  clusterIP: None
  selector:
    {{- include "stillhouse.selector" $part | nindent 4 }}
  ports:
    - {name: grpc, port: 50051, targetPort: grpc, appProtocol: kubernetes.io/h2c}
    - {name: metrics, port: 9090, targetPort: metrics}
{{- if $root.Values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "stillhouse.labels" $part | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "stillhouse.selector" $part | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "stillhouse.grpcEnv" -}}
{{- $rpc := .root.Values.rpc -}}
- {name: STILLHOUSE_HOST, value: 0.0.0.0}
- {name: STILLHOUSE_METRICS_PORT, value: "9090"}
- {name: STILLHOUSE_DRAIN_SECONDS, value: {{ $rpc.drainSeconds | quote }}}
{{- if $rpc.tlsSecret }}
- {name: STILLHOUSE_TLS_CERTIFICATE, value: /var/run/stillhouse/tls/tls.crt}
- {name: STILLHOUSE_TLS_KEY, value: /var/run/stillhouse/tls/tls.key}
{{- if $rpc.clientCertificates }}
- {name: STILLHOUSE_TLS_CLIENT_CA, value: /var/run/stillhouse/tls/ca.crt}
{{- end }}
{{- else }}
- {name: STILLHOUSE_ALLOW_PLAINTEXT, value: "1"}
{{- end }}
{{- if $rpc.tokenSecret }}
- name: STILLHOUSE_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ $rpc.tokenSecret }}, key: {{ $rpc.tokenKey }}}
{{- end }}
{{- $env := include "stillhouse.tracingEnv" .root | fromJsonArray }}
{{- if .store }}
{{- $env = concat (include "stillhouse.storeEnv" .root | fromJsonArray) $env }}
{{- end }}
{{- if eq .account "teacher" }}
{{- $env = concat $env (include "stillhouse.teacherEnv" .root | fromJsonArray) }}
{{- with include "stillhouse.emulatorEndpoint" .root }}
{{- $env = append $env (dict "name" "STILLHOUSE_EMULATOR_ENDPOINT" "value" .) }}
{{- end }}
{{- end }}
{{- range concat $env .values.env }}
- {{ toJson . }}
{{- end }}
{{- end -}}
