using System.Diagnostics.CodeAnalysis;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// Reads that must not wait for a disk.
public sealed unsafe partial class ObjectStore
{
    /// <summary>Holds a file that is open, for reading beside the caller's thread.</summary>
    /// <returns>False: it is not open yet, or no longer there.</returns>
    internal bool TryHold(ulong obj, [NotNullWhen(true)] out IRingFile? file)
    {
        file = nodes.TryGetValue(obj, out var node) && TryCached(node, out var descriptor) ? descriptor : null;
        return file is not null;
    }

    /// <summary>Reads from the page cache only.</summary>
    /// <returns>0; EAGAIN if not all of it is there or the file is not open yet; or another errno.</returns>
    /// <param name="count">Bytes read; fewer than asked only at the end of the file.</param>
    public int ReadNow(ulong obj, long offsetBytes, Span<byte> buffer, out int count)
    {
        count = 0;
        if (!nodes.TryGetValue(obj, out var node))
            return Errno.ESTALE;
        if (!TryCached(node, out var descriptor))
            return Errno.EAGAIN;
        var error = Errno.None;
        // SAFETY: the span is pinned; every call reads into what is left of it.
        fixed (byte* start = buffer)
        {
            while (count < buffer.Length)
            {
                var vector = new Libc.IoVector { Base = start + count, Length = (nuint)(buffer.Length - count) };
                var got = Libc.PReadV2(descriptor!.Fd, &vector, 1, offsetBytes + count, Libc.ReadNoWait);
                if (got <= 0)
                {
                    error = got == 0 ? Errno.None : Libc.LastErrno;
                    break;
                }
                count += (int)got;
            }
        }
        descriptor!.Release();
        // A kernel or file system without such reads.
        return error is Errno.EOPNOTSUPP or Errno.EINTR ? Errno.EAGAIN : error;
    }
}
