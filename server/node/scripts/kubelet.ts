/** kubelet's two scripts: the unit's, outside of the user namespace, and the one inside. */

export const kubeletScript = String.raw`#!/bin/sh
set -eu
exec "$U7S_PROGRAMS/nsenter_u7s" "$U7S_PROGRAMS/_kubelet.sh"
`;

export const innerKubeletScript = String.raw`#!/bin/sh
# kubelet as kubeadm means it to be started (its 10-kubeadm.conf), inside of the user namespace.
set -eu
KUBELET_KUBEADM_ARGS=
if [ -r /var/lib/kubelet/kubeadm-flags.env ]; then
	# shellcheck source=/dev/null
	. /var/lib/kubelet/kubeadm-flags.env
fi
# shellcheck disable=SC2086 # lists of words
exec "$U7S_KUBERNETES_PROGRAMS/kubelet" \
	--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
	--config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS $U7S_KUBELET_FLAGS
`;
