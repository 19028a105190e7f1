{{- define "canuse.container" -}}
- name: canuse
  image: {{ include "canuse.image" (dict "image" .Values.image "tag" .Chart.AppVersion) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [canuse]
  args:
    {{- include "canuse.args" . | nindent 4 }}
  env:
    {{- include "canuse.env" . | trim | nindent 4 }}
  {{- with .Values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    {{- if not .Values.envoy.enabled }}
    - {name: grpc, containerPort: 50051}
    {{- end }}
    {{- if .Values.http.enabled }}
    - {name: http, containerPort: 50052}
    {{- end }}
    - {name: ops, containerPort: 9464}
  # None of these asks the store, so that pods do not restart because of it. readyz fails if the store has lost its data.
  startupProbe:
    httpGet: {path: /livez, port: ops}
    periodSeconds: 2
    failureThreshold: 30
  livenessProbe:
    httpGet: {path: /livez, port: ops}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    httpGet: {path: /readyz, port: ops}
    periodSeconds: 5
    timeoutSeconds: 2
    failureThreshold: 2
  {{- if .Values.preStopSeconds }}
  lifecycle:
    preStop:
      sleep: {seconds: {{ .Values.preStopSeconds }}}
  {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    {{- if .Values.bootstrapKey.existingSecret.name }}
    - {name: bootstrap-key, mountPath: /etc/canuse/bootstrap-key, readOnly: true}
    {{- end }}
    {{- if and .Values.tls.existingSecret (not .Values.envoy.enabled) }}
    - {name: tls, mountPath: /etc/canuse/tls, readOnly: true}
    {{- end }}
    {{- if .Values.tls.clientCa.existingSecret }}
    - {name: client-ca, mountPath: /etc/canuse/client-ca, readOnly: true}
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- /* A sidecar, which starts before the server and ends after it: calls that the server finishes pass through it. */}}
{{- define "canuse.envoyContainer" -}}
- name: envoy
  restartPolicy: Always
  image: {{ include "canuse.image" (dict "image" .Values.envoy.image) | quote }}
  imagePullPolicy: {{ .Values.envoy.image.pullPolicy }}
  command: [envoy]
  args:
    - --config-path
    - /etc/envoy/tls.yaml
    - --concurrency
    - {{ .Values.envoy.concurrency | quote }}
    - --disable-hot-restart
  ports:
    - {name: grpc, containerPort: 8443}
  startupProbe:
    tcpSocket: {port: 8443}
    periodSeconds: 1
    failureThreshold: 60
  readinessProbe:
    tcpSocket: {port: 8443}
    periodSeconds: 5
  resources:
    {{- toYaml .Values.envoy.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    # File by file: no directory can be mounted within a read-only one.
    {{- range tuple "tls.yaml" "tls-certificate.yaml" }}
    - {name: envoy, mountPath: /etc/envoy/{{ . }}, subPath: {{ . }}, readOnly: true}
    {{- end }}
    - {name: tls, mountPath: /etc/envoy/certificates, readOnly: true}
{{- end }}

{{- define "canuse.volumes" -}}
# For the sockets between the server's processes.
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with .Values.bootstrapKey.existingSecret }}
{{- if .name }}
- name: bootstrap-key
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
    items: [{key: {{ .key | quote }}, path: key}]
{{- end }}
{{- end }}
{{- if .Values.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ .Values.tls.existingSecret }}
    defaultMode: 0440
    {{- if .Values.envoy.enabled }}
    items: [{key: tls.crt, path: server.pem}, {key: tls.key, path: server-key.pem}]
    {{- end }}
{{- end }}
{{- with .Values.tls.clientCa }}
{{- if .existingSecret }}
- name: client-ca
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- if .Values.envoy.enabled }}
- name: envoy
  configMap:
    name: {{ include "canuse.fullname" . }}-envoy
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
