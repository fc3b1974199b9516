{{- define "catena.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "catena.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "catena.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "catena.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "catena.selectorLabels" -}}
app.kubernetes.io/name: {{ include "catena.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "catena.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "catena.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "catena.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "catena.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Which nodes take pods of the class. */}}
{{- define "catena.scheduling" -}}
{{- $selector := .Values.runtimeClass.nodeSelector }}
{{- if and .Values.installer.enabled .Values.label.enabled }}
{{- $selector = merge (dict .Values.label.key "true") $selector }}
{{- end }}
{{- if or $selector .Values.runtimeClass.tolerations }}
scheduling:
  {{- with $selector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.runtimeClass.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* The init container that works on the node. */}}
{{- define "catena.work" -}}
- name: {{ .Values.installer.action }}
  image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [{{ .Values.installer.action }}]
  env:
    - name: HOST_ROOT
      value: /host
    - name: HANDLER
      value: {{ .Values.runtimeClass.handler | quote }}
    - name: RUNTIME
      value: {{ .Values.installer.runtime | quote }}
    - name: CONTAINERD_CONFIG
      value: {{ .Values.installer.containerdConfig | quote }}
    - name: BIN_DIR
      value: {{ .Values.installer.binDir | quote }}
    - name: CACHE_DIR
      value: {{ .Values.installer.cacheDir | quote }}
    - name: SYSTEMD_CGROUP
      value: {{ .Values.installer.systemdCgroup | quote }}
    - name: RESTART
      value: {{ ternary "1" "0" .Values.installer.restart | quote }}
    - name: DROP_IN
      value: {{ .Values.installer.dropIn | quote }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - name: host
      mountPath: /host
{{- end }}

{{- /* The init container that labels the node: it alone has a token, and no privilege. */}}
{{- define "catena.labelling" -}}
- name: label
  image: "{{ .Values.label.image.repository }}:{{ .Values.label.image.tag }}"
  imagePullPolicy: {{ .Values.label.image.pullPolicy }}
  args:
    - label
    - node
    - $(NODE_NAME)
    {{- if eq .Values.installer.action "install" }}
    - --overwrite
    - {{ .Values.label.key }}=true
    {{- else }}
    - {{ .Values.label.key }}-
    {{- end }}
  env:
    - name: NODE_NAME
      valueFrom:
        fieldRef:
          fieldPath: spec.nodeName
  securityContext:
    {{- include "catena.unprivileged" . | nindent 4 }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - name: token
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
{{- end }}

{{- define "catena.unprivileged" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}
