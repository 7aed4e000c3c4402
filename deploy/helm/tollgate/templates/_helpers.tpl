{{- define "tollgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 28 | trimSuffix "-" -}}
{{- end }}

{{/* At most 28 characters, so that the names of a thousand gateways stay within their 40. */}}
{{- define "tollgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 28 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 28 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tollgate.name" .) | trunc 28 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "tollgate.services" -}}
identity catalog subscription metering analytics billing
{{- end }}

{{/* What selects the pods of one service: dict "root" $ "service" NAME. */}}
{{- define "tollgate.selector" -}}
app.kubernetes.io/name: {{ include "tollgate.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end }}

{{- define "tollgate.labels" -}}
{{ include "tollgate.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tollgate
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* The settings of a service over the defaults, as JSON. Maps are merged, lists are replaced. */}}
{{- define "tollgate.settings" -}}
{{- $own := index .root.Values .service | default dict -}}
{{- $settings := merge (deepCopy $own) (deepCopy .root.Values.defaults) -}}
{{- toJson $settings -}}
{{- end }}

{{- define "tollgate.image" -}}
{{- $settings := include "tollgate.settings" . | fromJson -}}
{{- $image := printf "%s/%s" .root.Values.image.registry .service -}}
{{- if $settings.digest -}}
{{- printf "%s@%s" $image $settings.digest -}}
{{- else -}}
{{- printf "%s:%s" $image ($settings.tag | default .root.Values.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{- define "tollgate.secret" -}}
{{- $settings := include "tollgate.settings" . | fromJson -}}
{{- required (printf "secrets.existing, or %s.secretName: name the Secret that has the keys of %s; README.md lists them" .service .service) ($settings.secretName | default .root.Values.secrets.existing) -}}
{{- end }}

{{- define "tollgate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tollgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The environment that every service has. */}}
{{- define "tollgate.environment" -}}
{{- $settings := include "tollgate.settings" . | fromJson -}}
- name: TOLLGATE_NATS_URL
  value: {{ required "nats.url: name the servers, as in nats://nats.nats:4222" .root.Values.nats.url | quote }}
- name: TOLLGATE_NATS_REPLICAS
  value: {{ .root.Values.nats.replicas | quote }}
- name: TOLLGATE_NATS_CREDENTIALS
  value: /etc/tollgate/nats/user.nk
- name: TOLLGATE_LOG_LEVEL
  value: {{ .root.Values.log.level | quote }}
- name: TOLLGATE_LOG_FORMAT
  value: {{ .root.Values.log.format | quote }}
{{- with .root.Values.traces.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if .root.Values.authorities.configMap }}
- name: SSL_CERT_DIR
  value: /etc/tollgate/authorities
{{- end }}
{{- range $name, $value := $settings.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "tollgate.mounts" -}}
- name: nats
  mountPath: /etc/tollgate/nats
  readOnly: true
{{- if .root.Values.authorities.configMap }}
- name: authorities
  mountPath: /etc/tollgate/authorities
  readOnly: true
{{- end }}
{{- end }}

{{- define "tollgate.volumes" -}}
- name: nats
  secret:
    secretName: {{ include "tollgate.secret" . }}
    defaultMode: 0440
    items:
      - {key: {{ .service }}.nk, path: user.nk}
{{- with .root.Values.authorities.configMap }}
- name: authorities
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}

{{/* Where a pod runs. */}}
{{- define "tollgate.placement" -}}
{{- $settings := include "tollgate.settings" . | fromJson -}}
{{- with $settings.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $settings.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with $settings.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with $settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "tollgate.selector" . | nindent 8 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}
