{{- define "roadstead.image" -}}
{{- $missing := "image.repository is not set: there is no public image. Build one by `make image`, get it to your cluster as docs/install.md shows, and add --set image.repository=NAME" -}}
{{- $repository := required $missing .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- with .Values.image.tag }}{{ $repository = printf "%s:%s" $repository . }}{{ end -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{- define "roadstead.serviceAccount" -}}
{{- default .Release.Name .Values.serviceAccount.name -}}
{{- end }}

{{- define "roadstead.selector" -}}
app.kubernetes.io/name: roadstead-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "roadstead.labels" -}}
{{ include "roadstead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* The same for every release: bindings name it, which cannot change; and so Helm refuses a second
operator on one Kubernetes, as this role is of another release. */ -}}
{{- define "roadstead.tokenReviewRole" -}}
roadstead-node-tokenreview
{{- end }}

{{- define "roadstead.clusterRole" -}}
{{ .Release.Name }}-operator
{{- end }}
