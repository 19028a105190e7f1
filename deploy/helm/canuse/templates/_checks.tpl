{{- /* What the schema cannot check: values that contradict each other. */}}
{{- define "canuse.checks" -}}
{{- $v := .Values }}
{{- $secret := $v.redis.existingSecret.name }}
{{- if not (or $secret $v.redis.url) }}
{{- fail "redis.url or redis.existingSecret.name must be set: pods have no disk of their own to keep counts on" }}
{{- end }}
{{- if and $secret $v.redis.url }}
{{- fail "redis.url and redis.existingSecret.name are both set: set one of them" }}
{{- end }}
{{- if and $v.bootstrapKey.existingSecret.name $v.bootstrapKey.sha256 }}
{{- fail "bootstrapKey.existingSecret.name and bootstrapKey.sha256 are both set: set one of them" }}
{{- end }}
{{- if and $v.tls.clientCa.existingSecret (or $v.envoy.enabled (not $v.tls.existingSecret)) }}
{{- fail "tls.clientCa.existingSecret needs tls.existingSecret, and envoy.enabled=false: the server checks client certificates itself" }}
{{- end }}
{{- if $v.envoy.enabled }}
{{- if not $v.tls.existingSecret }}
{{- fail "envoy.enabled needs tls.existingSecret, a secret of the type kubernetes.io/tls" }}
{{- end }}
{{- if $v.http.enabled }}
{{- fail "envoy.enabled needs http.enabled=false: Envoy has no TLS for the HTTP port. For HTTP with TLS, set envoy.enabled=false" }}
{{- end }}
{{- if not (or $v.bootstrapKey.existingSecret.name $v.bootstrapKey.sha256) }}
{{- fail "envoy.enabled needs bootstrapKey: behind Envoy the server listens on the loopback, where it is open until a key exists" }}
{{- end }}
{{- else if eq $v.transport "native" }}
{{- include "canuse.checkNative" . }}
{{- end }}
{{- $budget := $v.podDisruptionBudget }}
{{- if and $budget.enabled (eq (kindIs "invalid" $budget.maxUnavailable) (kindIs "invalid" $budget.minAvailable)) }}
{{- fail "podDisruptionBudget: set one of maxUnavailable and minAvailable, and the other to null" }}
{{- end }}
{{- if $v.autoscaling.enabled }}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) }}
{{- fail "autoscaling.minReplicas must be at most autoscaling.maxReplicas" }}
{{- end }}
{{- if not (dig "requests" "cpu" "" $v.resources) }}
{{- fail "autoscaling.enabled needs resources.requests.cpu: the target is a share of it" }}
{{- end }}
{{- end }}
{{- $drain := include "canuse.drainSeconds" . | int }}
{{- if le (include "canuse.terminationSeconds" . | int) $drain }}
{{- fail (printf "terminationGracePeriodSeconds must be more than %d, preStopSeconds and settings.grace_seconds together" $drain) }}
{{- end }}
{{- end }}

{{- /* The transport native decompresses without a limit, so that only trusted callers may reach it. */}}
{{- define "canuse.checkNative" -}}
{{- $policy := .Values.networkPolicy }}
{{- $advice := "set envoy.enabled=true or transport=grpcio" }}
{{- if .Values.tls.existingSecret }}
{{- fail (printf "transport=native has no TLS: %s" $advice) }}
{{- end }}
{{- if not (and $policy.enabled $policy.clients) }}
{{- fail (printf "transport=native is for trusted callers: name them in networkPolicy.clients with networkPolicy.enabled=true, or %s" $advice) }}
{{- end }}
{{- range $policy.clients }}
{{- $labels := false }}
{{- range list .podSelector .namespaceSelector }}
{{- if and . (or .matchLabels .matchExpressions) }}{{ $labels = true }}{{ end }}
{{- end }}
{{- $everywhere := and .ipBlock (hasSuffix "/0" .ipBlock.cidr) }}
{{- $namespace := and (not .namespaceSelector) (not .ipBlock) (not (hasKey . "namespaceSelector")) }}
{{- if or $everywhere (not (or $labels .ipBlock $namespace)) }}
{{- fail (printf "transport=native is for trusted callers, and networkPolicy.clients admits everybody with %s: select namespaces, pods or addresses, or %s" (toJson .) $advice) }}
{{- end }}
{{- end }}
{{- end }}
