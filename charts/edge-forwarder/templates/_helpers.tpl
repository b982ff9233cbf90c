{{- define "edge.readsLogs" -}}
{{- if and .Values.logs.enabled (eq .Values.mode "daemonset") }}true{{ end -}}
{{- end }}

{{- define "edge.config" -}}
{{- $config := dict "kafka" (include "common.kafkaConfig" (dict "kafka" .Values.kafka "mount" "/tls/kafka") | fromYaml) -}}
{{- $_ := set $config "spool" (dict "directory" "/var/lib/edge-forwarder" "max_bytes" .Values.spool.maxBytes) -}}
{{- if .Values.ownMetrics.url -}}
{{- $store := dict "url" .Values.ownMetrics.url "username" .Values.ownMetrics.username "caSecret" .Values.ownMetrics.caSecret -}}
{{- $telemetry := include "common.storeConfig" (dict "store" $store "mount" "/tls/metrics") | fromYaml -}}
{{- $_ := set $telemetry "otlp_endpoint" $telemetry.url -}}
{{- $_ := set $telemetry "headers" (dict "X-Scope-OrgID" .Values.ownMetrics.tenant) -}}
{{- $_ := set $config "telemetry" (omit $telemetry "url") -}}
{{- end -}}
{{- if include "edge.readsLogs" . -}}
{{- $kubernetes := dict "well_known_labels" true -}}
{{- with .Values.logs.cluster }}{{ $_ := set $kubernetes "cluster" . }}{{ end -}}
{{- $filelog := dict "include" (list (printf "%s/*/*/*.log" .Values.logs.directory)) "kubernetes" $kubernetes -}}
{{- $_ := set $filelog "exclude_namespaces" .Values.logs.excludeNamespaces -}}
{{- $_ := set $filelog "exclude_labels" .Values.logs.excludeLabels -}}
{{- $_ := set $config "filelog" $filelog -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end }}

{{/* The pod of both modes. */}}
{{- define "edge.podTemplate" -}}
metadata:
  labels: {{ include "common.labels" . | nindent 4 }}
  annotations:
    checksum/config: {{ include "edge.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "common.fullname" . }}
  automountServiceAccountToken: {{ if include "edge.readsLogs" . }}true{{ else }}false{{ end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- if eq .Values.mode "daemonset" }}
  # The runtime writes container logs as root, 0640. No capability but reading them is kept.
  securityContext:
    runAsUser: 0
    runAsGroup: 0
    seccompProfile: {type: RuntimeDefault}
  {{- else }}
  securityContext: {{ include "common.podSecurityContext" 10001 | nindent 4 }}
  {{- include "common.spread" (list . (include "common.selectorLabels" .) false) | nindent 2 }}
  {{- end }}
  {{- include "common.placement" . | nindent 2 }}
  containers:
    - name: edge-forwarder
      image: {{ include "common.image" .Values.image }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [--config, /etc/edge-forwarder/edge.yaml]
      env:
        - name: EDGE__PUBLISHER__EDGE_ID
          valueFrom:
            fieldRef:
              fieldPath: {{ if eq .Values.mode "daemonset" }}spec.nodeName{{ else }}metadata.name{{ end }}
        {{- if include "edge.readsLogs" . }}
        - name: EDGE__FILELOG__KUBERNETES__NODE
          valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        {{- end }}
        - name: EDGE__TELEMETRY__INSTANCE
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- include "common.kafkaEnv" (dict "kafka" .Values.kafka "prefix" "EDGE__KAFKA") | indent 8 }}
        {{- include "common.storeEnv" (dict "store" .Values.ownMetrics "prefix" "EDGE__TELEMETRY") | indent 8 }}
      ports:
        - {name: otlp-grpc, containerPort: 4317}
        - {name: otlp-http, containerPort: 4318}
        - {name: admin, containerPort: 9464}
      {{- include "common.programProbes" . | nindent 6 }}
      {{- if eq .Values.mode "daemonset" }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL], add: [DAC_READ_SEARCH]}
      {{- else }}
      securityContext: {{ include "common.containerSecurityContext" . | nindent 8 }}
      {{- end }}
      resources: {{ toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/edge-forwarder, readOnly: true}
        - {name: spool, mountPath: /var/lib/edge-forwarder}
        {{- if include "edge.readsLogs" . }}
        - {name: logs, mountPath: {{ .Values.logs.directory }}, readOnly: true}
        {{- end }}
        {{- include "common.caMount" (dict "name" "kafka-ca" "secret" .Values.kafka.tls.caSecret "mount" "/tls/kafka") | indent 8 }}
        {{- include "common.caMount" (dict "name" "metrics-ca" "secret" .Values.ownMetrics.caSecret "mount" "/tls/metrics") | indent 8 }}
  volumes:
    - name: config
      configMap: {name: {{ include "common.fullname" . }}}
    {{- if eq .Values.mode "daemonset" }}
    - name: spool
      hostPath: {path: {{ .Values.spool.hostPath }}, type: DirectoryOrCreate}
    {{- end }}
    {{- if include "edge.readsLogs" . }}
    - name: logs
      hostPath: {path: {{ .Values.logs.directory }}, type: Directory}
    {{- end }}
    {{- include "common.caVolume" (dict "name" "kafka-ca" "secret" .Values.kafka.tls.caSecret) | indent 4 }}
    {{- include "common.caVolume" (dict "name" "metrics-ca" "secret" .Values.ownMetrics.caSecret) | indent 4 }}
{{- end }}
