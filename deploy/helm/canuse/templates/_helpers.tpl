{{- define "canuse.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* At most 54 characters, so that a suffix fits. */}}
{{- define "canuse.fullname" -}}
{{- $name := include "canuse.name" . }}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $default .Values.fullnameOverride | trunc 54 | trimSuffix "-" }}
{{- end }}

{{- define "canuse.selectorLabels" -}}
app.kubernetes.io/name: {{ include "canuse.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "canuse.labels" -}}
{{ include "canuse.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "canuse.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "canuse.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Of a dictionary with repository, digest and tag, and a default of the tag. */}}
{{- define "canuse.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}
{{- else }}{{ .image.repository }}:{{ default .tag .image.tag }}{{ end }}
{{- end }}

{{- /* By number: not every Kubernetes finds the name of a sidecar's port. */}}
{{- define "canuse.grpcPort" -}}
{{ .Values.envoy.enabled | ternary 8443 50051 }}
{{- end }}

{{- /* Seconds from the end of a pod until the last call has ended. */}}
{{- define "canuse.drainSeconds" -}}
{{- $grace := dig "grace_seconds" 10 .Values.settings }}
{{- add .Values.preStopSeconds (ceil $grace | int) }}
{{- end }}

{{- define "canuse.terminationSeconds" -}}
{{- default (add (include "canuse.drainSeconds" . | int) 10) .Values.terminationGracePeriodSeconds }}
{{- end }}
