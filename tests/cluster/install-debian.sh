#!/bin/sh
# What the test cluster needs of Debian. Go 1.26 or newer is needed as well.
set -eu
apt-get update -q
apt-get install -qy --no-install-recommends \
    runc containernetworking-plugins iptables nftables conntrack iproute2 util-linux binutils
