{{- /* The options of `canuse serve`: addresses are those of the chart's ports. */}}
{{- define "canuse.args" -}}
- serve
- --listen={{ .Values.envoy.enabled | ternary "127.0.0.1" "0.0.0.0" }}:50051
- --http-listen={{ .Values.http.enabled | ternary "0.0.0.0:50052" "" }}
- --ops-listen=0.0.0.0:9464
- --transport={{ .Values.transport }}
{{- if and .Values.tls.existingSecret (not .Values.envoy.enabled) }}
- --tls-certificate=/etc/canuse/tls/tls.crt
- --tls-key=/etc/canuse/tls/tls.key
{{- if .Values.tls.clientCa.existingSecret }}
- --tls-client-ca=/etc/canuse/client-ca/ca.crt
{{- end }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Settings that are secret or have no option. */}}
{{- define "canuse.env" -}}
{{- with .Values.redis }}
- name: CANUSE_REDIS_URL
{{- if .existingSecret.name }}
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret.name | quote }}, key: {{ .existingSecret.key | quote }}}
{{- else }}
  value: {{ .url | quote }}
{{- end }}
{{- end }}
{{- with .Values.bootstrapKey }}
{{- if .existingSecret.name }}
- name: CANUSE_BOOTSTRAP_KEY
  value: /etc/canuse/bootstrap-key/key
{{- else if .sha256 }}
- name: CANUSE_BOOTSTRAP_KEY
  value: {{ .sha256 | quote }}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: CANUSE_{{ upper $name }}
  value: {{ include "canuse.settingText" $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Helm reads large integers as floats, whose text would have an exponent. */}}
{{- define "canuse.settingText" -}}
{{- if kindIs "slice" . }}{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}
{{- else }}{{ . }}
{{- end }}
{{- end }}
