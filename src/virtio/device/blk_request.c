/* SPDX-License-Identifier: Apache-2.0
 *
 * blk_request.c: what a chain of the block device's guest asks for.
 *
 * Spec:  virtio 1.2, 5.2.6.
 * Trust: everything is guest input; a range is checked against the disk before it goes there.
 */
#include "virtio/device/blk_internal.h"

#include "base/iov.h"

#include <endian.h>
#include <string.h>

#define HEADER_BYTES sizeof(struct virtio_blk_outhdr)

struct parse {
    const struct virtio_chain *chain;
    uint32_t type;
    uint64_t sector;
    uint64_t out_bytes, in_bytes; /* of data, without header and status */
};

uint8_t *virtio_blk_status_of(const struct virtio_chain *chain)
{
    const struct iovec *last = &chain->writable[chain->num_writable - 1];
    return (uint8_t *)last->iov_base + last->iov_len - 1;
}

static bool in_range(const struct blk *b, uint64_t sector, uint64_t sectors)
{
    uint64_t capacity = disk_get_size(b->disk) / DISK_SECTOR_BYTES;
    return sector <= capacity && sectors <= capacity - sector;
}

/* Spec 5.2.6.2: without a flush there is no cache either, whatever the config space says. */
static bool is_write_through(const struct blk *b)
{
    return !b->write_back || !virtio_device_has_feature(&b->base, VIRTIO_BLK_F_FLUSH);
}

static enum blk_parsed parse_transfer(struct blk *b, const struct parse *p, struct blk_request *r)
{
    bool is_read = p->type == VIRTIO_BLK_T_IN;
    uint64_t bytes = is_read ? p->in_bytes : p->out_bytes;
    uint64_t other = is_read ? p->out_bytes : p->in_bytes;
    if (other != 0 || bytes % DISK_SECTOR_BYTES != 0 || bytes > BLK_REQUEST_BYTES_MAX ||
        !in_range(b, p->sector, bytes / DISK_SECTOR_BYTES) || (!is_read && b->read_only))
        return BLK_PARSED_IOERR;

    const struct virtio_chain *c = p->chain;
    r->disk.op = is_read ? DISK_READ : DISK_WRITE;
    r->disk.offset = p->sector * DISK_SECTOR_BYTES;
    r->disk.bytes = bytes;
    r->disk.iov = r->iov;
    r->disk.num_iov = is_read ? pv_iov_slice(c->writable, c->num_writable, 0, bytes, r->iov,
                                             PV_ARRAY_SIZE(r->iov), NULL)
                              : pv_iov_slice(c->readable, c->num_readable, HEADER_BYTES, bytes,
                                             r->iov, PV_ARRAY_SIZE(r->iov), NULL);
    r->bytes = is_read ? bytes : 0;
    r->write_through = !is_read && is_write_through(b);
    return BLK_PARSED_DISK;
}

static enum blk_parsed parse_get_id(struct blk *b, const struct parse *p, uint64_t *ret_written)
{
    size_t len = (size_t)PV_MIN(p->in_bytes, (uint64_t)VIRTIO_BLK_ID_BYTES);
    if (len == 0)
        return BLK_PARSED_IOERR;
    *ret_written = virtio_chain_write(p->chain, 0, b->serial, len);
    return BLK_PARSED_DONE;
}

/* Spec 5.2.6.1: unknown flags, and unmap for discard, are unsupported. */
static enum blk_parsed parse_range(struct blk *b, const struct parse *p, struct blk_request *r)
{
    bool discard = p->type == VIRTIO_BLK_T_DISCARD;
    unsigned feature = discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
    if (!virtio_device_has_feature(&b->base, feature))
        return BLK_PARSED_UNSUPP;
    struct virtio_blk_discard_write_zeroes range;
    if (p->out_bytes != sizeof(range) || b->read_only)
        return BLK_PARSED_IOERR;
    virtio_chain_read(p->chain, HEADER_BYTES, &range, sizeof(range));

    uint32_t flags = le32toh(range.flags);
    uint32_t sectors = le32toh(range.num_sectors);
    uint64_t sector = le64toh(range.sector);
    if (flags & ~(discard ? 0u : (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
        return BLK_PARSED_UNSUPP;
    if (sectors > (discard ? BLK_DISCARD_SECTORS_MAX : BLK_WRITE_ZEROES_SECTORS_MAX) ||
        !in_range(b, sector, sectors))
        return BLK_PARSED_IOERR;
    r->disk.op = discard ? DISK_DISCARD : flags ? DISK_UNMAP_ZEROES : DISK_WRITE_ZEROES;
    r->disk.offset = sector * DISK_SECTOR_BYTES;
    r->disk.bytes = (uint64_t)sectors * DISK_SECTOR_BYTES;
    r->write_through = !discard && is_write_through(b);
    return BLK_PARSED_DISK;
}

enum blk_parsed virtio_blk_parse(struct blk *b, const struct virtio_chain *chain,
                                 struct blk_request *r, uint64_t *ret_written)
{
    struct virtio_blk_outhdr h;
    if (virtio_chain_read(chain, 0, &h, sizeof(h)) < sizeof(h))
        return BLK_PARSED_IOERR;
    struct parse p = {
        .chain = chain,
        .type = le32toh(h.type),
        .sector = le64toh(h.sector),
        .out_bytes = chain->readable_bytes - sizeof(h),
        .in_bytes = chain->writable_bytes - 1,
    };
    switch (p.type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        return parse_transfer(b, &p, r);
    case VIRTIO_BLK_T_FLUSH:
        r->disk.op = DISK_FLUSH;
        return BLK_PARSED_DISK;
    case VIRTIO_BLK_T_GET_ID:
        return parse_get_id(b, &p, ret_written);
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return parse_range(b, &p, r);
    default:
        return BLK_PARSED_UNSUPP;
    }
}
