/* SPDX-License-Identifier: Apache-2.0
 *
 * offload.h: what a link cannot carry is done in software: partial checksums are completed, large
 * frames are cut into segments.
 *
 * Runs on: any thread; nothing here keeps state.   Spec: virtio 1.2, 5.1.6.2 and 5.1.6.4.
 * Trust:   header and frame are input. Everything is checked against the frame's length.
 */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "net/link.h"

/* Checks the offload header of a frame of `bytes`, from someone who may use `allowed` (enum
 * net_offload), and makes it plain: fields and flags that say nothing become zero. hdr is a copy of
 * ours. 0, or -EINVAL: the frame must be dropped. */
int net_offload_check(struct virtio_net_hdr *hdr, size_t bytes, unsigned allowed);

/* Which enum net_offload whoever receives the frame must know. hdr has been checked. */
unsigned net_offload_of(const struct virtio_net_hdr *hdr);

/* The Internet checksum (RFC 1071) over bytes, on top of a sum: not folded. All pieces but the last
 * must have an even length. */
uint64_t net_offload_sum(uint64_t sum, const void *bytes, size_t len);
/* The sum folded to 16 bits, in the order of the bytes summed (store it as it is). */
uint16_t net_offload_fold(uint64_t sum);

/* Completes the partial checksum of a frame in our memory. hdr has been checked. */
void net_offload_complete(const struct virtio_net_hdr *hdr, uint8_t *frame, size_t bytes);

/* A frame with nothing left to do. Returns 0, or what ends the segmentation. */
typedef int net_offload_emit_fn(void *data, const uint8_t *frame, size_t bytes);

/* Cuts a frame in our memory whose hdr (checked) asks for segmentation, and calls emit with each
 * segment, complete with checksums, in `scratch` (NET_FRAME_MAX bytes). 0, -EINVAL when the frame's
 * own headers make no sense (nothing was emitted then), or what emit returned. */
int net_offload_segment(const struct virtio_net_hdr *hdr, const uint8_t *frame, size_t bytes,
                        uint8_t *scratch, net_offload_emit_fn *emit, void *data);

#endif
