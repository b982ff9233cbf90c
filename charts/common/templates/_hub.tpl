{{/* What every command of hub-consumer needs, from the values `kafka`, `clickhouse`, `mimir`, `signals` and `config`. */}}

{{- define "common.hubConfig" -}}
{{- $kafka := include "common.kafkaConfig" (dict "kafka" .Values.kafka "mount" "/tls/kafka") | fromYaml -}}
{{- $clickhouse := include "common.storeConfig" (dict "store" .Values.clickhouse "mount" "/tls/clickhouse") | fromYaml -}}
{{- $schema := dict "engine" .Values.clickhouse.engine -}}
{{- with .Values.clickhouse.cluster }}{{ $_ := set $schema "cluster" . }}{{ end -}}
{{- with .Values.clickhouse.storagePolicy }}{{ $_ := set $schema "storage_policy" . }}{{ end -}}
{{- $_ := set $schema "hot_days" (int .Values.clickhouse.hotDays) -}}
{{- $_ := set $schema "retention_days" (int .Values.clickhouse.retentionDays) -}}
{{- if le (int .Values.clickhouse.retentionDays) (int .Values.clickhouse.hotDays) }}
{{- fail (printf "clickhouse.retentionDays (%d) must be more than clickhouse.hotDays (%d)" (int .Values.clickhouse.retentionDays) (int .Values.clickhouse.hotDays)) }}
{{- end -}}
{{- $_ := set $clickhouse "schema" $schema -}}
{{- $_ := set $clickhouse "database" .Values.clickhouse.database -}}
{{- $mimir := include "common.storeConfig" (dict "store" .Values.mimir "mount" "/tls/mimir") | fromYaml -}}
{{- $_ := set $mimir "tenant" .Values.mimir.tenant -}}
{{- $telemetry := omit $mimir "url" "tenant" -}}
{{- $_ := set $telemetry "otlp_endpoint" (printf "%s/otlp/v1/metrics" .Values.mimir.url) -}}
{{- $_ := set $telemetry "headers" (dict "X-Scope-OrgID" .Values.mimir.tenant) -}}
{{- $config := dict "kafka" $kafka "clickhouse" $clickhouse "mimir" $mimir "telemetry" $telemetry -}}
{{- if .Values.derive }}{{ $_ := set $config "derive" (dict "enabled" true) }}{{ end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end }}

{{- define "common.hubEnv" -}}
{{- include "common.kafkaEnv" (dict "kafka" .Values.kafka "prefix" "HUB__KAFKA") }}
{{- include "common.storeEnv" (dict "store" .Values.clickhouse "prefix" "HUB__CLICKHOUSE") }}
{{- include "common.storeEnv" (dict "store" .Values.mimir "prefix" "HUB__MIMIR") }}
{{- include "common.storeEnv" (dict "store" .Values.mimir "prefix" "HUB__TELEMETRY") }}
{{- end }}

{{- define "common.hubVolumes" -}}
- name: config
  configMap: {name: {{ include "common.fullname" . }}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- include "common.caVolume" (dict "name" "kafka-ca" "secret" .Values.kafka.tls.caSecret) }}
{{- include "common.caVolume" (dict "name" "clickhouse-ca" "secret" .Values.clickhouse.caSecret) }}
{{- include "common.caVolume" (dict "name" "mimir-ca" "secret" .Values.mimir.caSecret) }}
{{- end }}

{{- define "common.hubMounts" -}}
- {name: config, mountPath: /etc/hub-consumer, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- include "common.caMount" (dict "name" "kafka-ca" "secret" .Values.kafka.tls.caSecret "mount" "/tls/kafka") }}
{{- include "common.caMount" (dict "name" "clickhouse-ca" "secret" .Values.clickhouse.caSecret "mount" "/tls/clickhouse") }}
{{- include "common.caMount" (dict "name" "mimir-ca" "secret" .Values.mimir.caSecret "mount" "/tls/mimir") }}
{{- end }}

{{/* A container that runs a command of hub-consumer: (list $ name arguments). */}}
{{- define "common.hubContainer" -}}
{{- $root := index . 0 -}}
- name: {{ index . 1 }}
  image: {{ include "common.image" $root.Values.image }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: {{ index . 2 | toJson }}
  {{- with include "common.hubEnv" $root }}
  env: {{ . | nindent 4 }}
  {{- end }}
  securityContext: {{ include "common.containerSecurityContext" . | nindent 4 }}
  resources: {{ toYaml $root.Values.resources | nindent 4 }}
  volumeMounts: {{ include "common.hubMounts" $root | nindent 4 }}
{{- end }}

{{/* Metadata of pods of hub-consumer: a changed configuration makes new pods. */}}
{{- define "common.hubPodAnnotations" -}}
checksum/config: {{ include "common.hubConfig" . | sha256sum }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "common.hubConfigMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{ include "common.labels" . | nindent 4 }}
data:
  hub.yaml: | {{- include "common.hubConfig" . | nindent 4 }}
{{- end }}
