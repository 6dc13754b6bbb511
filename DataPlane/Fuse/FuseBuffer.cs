using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Fuse;

/// <summary>Native memory for one request at a time. Requests are read to 80 bytes before a page boundary: the header (40) and the
/// arguments of READ and WRITE (40) lie before the boundary, the data lies on it, aligned for O_DIRECT.</summary>
internal sealed unsafe class FuseBuffer : IDisposable
{
    /// <summary>FUSE_MAX_PAGES pages of 4 KiB: the largest payload that kernels accept without a sysctl, bytes.</summary>
    public const int PayloadBytesMax = 256 * 4096;

    private const int Page = 4096;
    private byte* _memory;

    public FuseBuffer()
    {
        // One page before the payload and one after: requests with two names or an extended attribute are longer than READ and WRITE.
        _memory = (byte*)NativeMemory.AlignedAlloc(PayloadBytesMax + 2 * Page, Page);
        Message = _memory + Page - (sizeof(FuseInHeader) + sizeof(FuseWriteIn));
        Payload = _memory + Page;
    }

    public byte* Message { get; }
    public byte* Payload { get; }

    /// <summary>At least what the kernel demands of a read: sizeof header + fuse_write_in + max_write.</summary>
    public int MessageBytesMax => (int)(_memory + PayloadBytesMax + 2 * Page - Message);

    public void Dispose()
    {
        NativeMemory.AlignedFree(_memory);
        _memory = null;
    }
}
