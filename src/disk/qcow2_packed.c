/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_packed.c: compressed clusters. Home of zlib and libzstd.
 *
 * The cluster that was unpacked last is kept: a guest that reads on in it finds it there. Its entry
 * is its name; no compressed cluster is ever written, so the same entry is the same content.
 */
#include "disk/qcow2_internal.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* A raw deflate stream with a window of 4 KiB. It may be followed by anything. */
static int inflate_all(const uint8_t *from, size_t len, uint8_t *to, size_t to_len)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)from,
                  .avail_in = (unsigned)len,
                  .next_out = to,
                  .avail_out = (unsigned)to_len};
    if (inflateInit2(&z, -12) != Z_OK)
        return -ENOMEM;
    int rc = inflate(&z, Z_FINISH);
    bool whole = (rc == Z_STREAM_END || rc == Z_BUF_ERROR) && z.avail_out == 0;
    inflateEnd(&z);
    return whole ? 0 : -EIO;
}

static int unzstd_all(const uint8_t *from, size_t len, uint8_t *to, size_t to_len)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {from, len, 0};
    ZSTD_outBuffer out = {to, to_len, 0};
    if (!stream)
        return -ENOMEM;
    ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 27);
    while (out.pos < out.size) {
        size_t in_before = in.pos, out_before = out.pos;
        size_t rc = ZSTD_decompressStream(stream, &out, &in);
        if (ZSTD_isError(rc) || (in.pos == in_before && out.pos == out_before))
            break;
    }
    ZSTD_freeDStream(stream);
    return out.pos == out.size ? 0 : -EIO;
}

/* Fills q->unpacked. Needs unpacked_lock. */
static int unpack(struct qcow2 *q, uint64_t entry)
{
    uint64_t offset, bytes;
    qcow2_entry_packed(q, entry, &offset, &bytes);
    q->unpacked_entry = 0;
    if (!q->unpacked)
        q->unpacked = malloc(q->cluster_bytes);
    pv_auto_free uint8_t *packed = malloc(bytes);
    if (!q->unpacked || !packed)
        return -ENOMEM;
    int rc = qcow2_file_read(q, packed, bytes, offset);
    if (rc == 0)
        rc = (q->zstd ? unzstd_all : inflate_all)(packed, bytes, q->unpacked, q->cluster_bytes);
    if (rc == 0)
        q->unpacked_entry = entry;
    return rc;
}

int qcow2_packed_read(struct qcow2 *q, uint64_t entry, const struct iovec *iov, unsigned num_iov,
                      uint64_t offset, uint64_t bytes)
{
    pthread_mutex_lock(&q->unpacked_lock);
    int rc = q->unpacked_entry == entry ? 0 : unpack(q, entry);
    for (unsigned i = 0; i < num_iov && rc == 0; i++) {
        memcpy(iov[i].iov_base, q->unpacked + offset, iov[i].iov_len);
        offset += iov[i].iov_len;
    }
    pthread_mutex_unlock(&q->unpacked_lock);
    return rc;
}
