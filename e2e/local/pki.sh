# Keys, certificates and kubeconfigs of the cluster. Sourced by up.sh; PKI is the folder.
# shellcheck shell=bash
PKI=$STATE/pki

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

authority() {
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  key "$PKI/sa.key"
  openssl pkey -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub"
  key "$PKI/ca.key"
  openssl req -x509 -new -key "$PKI/ca.key" -out "$PKI/ca.crt" -days 30 -subj /CN=roadstead-e2e
}

# cert NAME COMMON_NAME ORGANISATION [SUBJECT_ALT_NAMES]: a certificate and a kubeconfig with it
cert() {
  local at=$PKI/$1
  key "$at.key"
  openssl req -new -key "$at.key" -out "$at.csr" -subj "/O=$3/CN=$2"
  openssl x509 -req -in "$at.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial \
    -days 30 -out "$at.crt" -extfile <(
      say "subjectAltName=${4:-DNS:$1}"
      say "extendedKeyUsage=serverAuth,clientAuth"
    ) 2>/dev/null
  cat >"$at.conf" <<CONF
apiVersion: v1
kind: Config
clusters:
- name: e2e
  cluster:
    server: "https://10.210.0.1:6443"
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: user
  user:
    client-certificate-data: $(base64 -w0 "$at.crt")
    client-key-data: $(base64 -w0 "$at.key")
contexts: [{name: e2e, context: {cluster: e2e, user: user}}]
current-context: e2e
CONF
}

# certificates NODES: everything a cluster of that many nodes needs
certificates() {
  local i svc=kubernetes.default.svc
  authority
  cert apiserver kube-apiserver kubernetes \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:$svc,IP:10.96.0.1,IP:10.210.0.1,IP:127.0.0.1"
  cert admin admin system:masters
  cert kcm system:kube-controller-manager kubernetes
  cert sched system:kube-scheduler kubernetes
  cert proxy system:kube-proxy kubernetes
  for i in $(seq "$1"); do
    cert "node$i" "system:node:node$i" system:nodes "DNS:node$i,IP:10.210.0.1$i"
  done
  cp "$PKI/admin.conf" "$KUBECONFIG_FILE"
}
