{{/* Connections of our programs: settings for the configuration file, secrets for the environment, certificates as files.
     The argument of each is (dict "kafka"|"store" VALUES "prefix" "EDGE__KAFKA" "mount" "/tls/kafka"). */}}

{{/* Section `kafka`. */}}
{{- define "common.kafkaConfig" -}}
{{- $config := dict "brokers" .kafka.brokers -}}
{{- if .kafka.tls.enabled -}}
{{- $tls := dict "enabled" true -}}
{{- if .kafka.tls.caSecret }}{{ $_ := set $tls "ca_file" (printf "%s/ca.crt" .mount) }}{{ end -}}
{{- $_ := set $config "tls" $tls -}}
{{- end -}}
{{- if .kafka.sasl.mechanism -}}
{{- $username := required "kafka.sasl.username is empty: name the user, or unset kafka.sasl.mechanism" .kafka.sasl.username -}}
{{- $_ := set $config "auth" (dict "sasl" (dict "mechanism" .kafka.sasl.mechanism "username" $username)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{- define "common.kafkaEnv" -}}
{{- if .kafka.sasl.mechanism }}
- name: {{ .prefix }}__AUTH__SASL__PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ required "kafka.sasl.passwordSecret.name is empty: name the Secret that holds the password" .kafka.sasl.passwordSecret.name }}
      key: {{ .kafka.sasl.passwordSecret.key }}
{{- end }}
{{- end }}

{{/* URL, user and trust of a store that is reached by HTTP. */}}
{{- define "common.storeConfig" -}}
{{- $config := dict "url" .store.url -}}
{{- if .store.username }}{{ $_ := set $config "username" .store.username }}{{ end -}}
{{- if .store.caSecret -}}
{{- if not (hasPrefix "https://" .store.url) }}{{ fail (printf "caSecret is set for %s: an authority is of use with https only" .store.url) }}{{ end -}}
{{- $_ := set $config "tls" (dict "ca_file" (printf "%s/ca.crt" .mount)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{- define "common.storeEnv" -}}
{{- if .store.username }}
- name: {{ .prefix }}__PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ required "passwordSecret.name is empty beside a username: name the Secret that holds the password" .store.passwordSecret.name }}
      key: {{ .store.passwordSecret.key }}
{{- end }}
{{- end }}

{{/* The authorities to trust, by the name of the Secret that holds `ca.crt`: (dict "name" "kafka-ca" "secret" NAME "mount" PATH). */}}
{{- define "common.caVolume" -}}
{{- if .secret }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end }}

{{- define "common.caMount" -}}
{{- if .secret }}
- {name: {{ .name }}, mountPath: {{ .mount }}, readOnly: true}
{{- end }}
{{- end }}
