{{- define "citestream.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Selectors: they never change. */}}
{{- define "citestream.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "citestream.labels" -}}
{{ include "citestream.selector" . }}
app.kubernetes.io/version: {{ include "citestream.tag" .root | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "citestream.metadata" -}}
name: {{ include "citestream.name" .root }}-{{ .part }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "citestream.labels" . | nindent 2 }}
{{- end }}

{{- define "citestream.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "citestream.secret" -}}
{{ .Values.secrets.existing | default (include "citestream.name" .) }}
{{- end }}

{{/* What every pod has. `user` is who it runs as. */}}
{{- define "citestream.pod" -}}
serviceAccountName: {{ include "citestream.name" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "citestream.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* One of each node where there are several. */}}
{{- define "citestream.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "citestream.selector" . | nindent 8 }}
{{- end }}

{{/* Secrets' files as in the containers of docker-compose.yml: /run/secrets/NAME. */}}
{{- define "citestream.secrets" -}}
- name: {{ .volume | default "secrets" }}
  secret:
    secretName: {{ include "citestream.secret" .root }}
    defaultMode: 0440
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}

{{- define "citestream.settings" -}}
- {name: CITESTREAM_ENVIRONMENT, value: production}
- {name: CITESTREAM_ENCODER__URL, value: "http://{{ include "citestream.name" . }}-encoder:8765"}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{- define "citestream.owner" -}}
- {name: DATABASE_OWNER_URL_FILE, value: /run/secrets/database_owner_url}
- {name: DATABASE_URL_FILE, value: /run/secrets/database_url}
{{ include "citestream.settings" . }}
{{- end }}

{{/* Ends when the schema is this version's, which `migrate` brings it to. */}}
{{- define "citestream.migrated" -}}
- name: migrated
  image: "{{ .Values.image.api }}:{{ include "citestream.tag" . }}"
  args: [migrate, --wait]
  env:
    - {name: DATABASE_URL_FILE, value: /run/secrets/database_url}
    {{- include "citestream.settings" . | nindent 4 }}
  {{- include "citestream.container" . | nindent 2 }}
  resources:
    {{- toYaml .Values.migrate.resources | nindent 4 }}
  volumeMounts:
    - {name: secrets, mountPath: /run/secrets, readOnly: true}
    - {name: tmp, mountPath: /tmp}
{{- end }}
