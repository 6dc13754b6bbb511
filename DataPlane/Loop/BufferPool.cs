using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Loop;

/// <summary>Page-aligned buffers of one event loop, counted by references. They bound what a module takes in: without a free buffer its
/// front end reads no further request (rule S12).</summary>
/// <remarks>
/// One piece of address space; memory is used only where data has been. Buffers are given out last in, first out, so that a shallow queue
/// touches few. What large requests have touched stays resident up to a budget of the whole process, beyond that it goes back to the
/// kernel when the buffer is released.
/// <code>
/// one buffer:   headroom (4 KiB) │ payload (1 MiB), page-aligned │ tail (4 KiB)
/// </code>
/// The headroom takes what precedes a payload (a request's header, then a frame's header), so that neither is copied. Used by the loop's
/// thread only.
/// </remarks>
internal sealed unsafe class BufferPool : IDisposable
{
    /// <summary>FUSE_MAX_PAGES pages of 4 KiB: the largest payload that kernels send without a sysctl, bytes.</summary>
    public const int PayloadBytesMax = 256 * PageBytes;

    public const int HeadroomBytes = PageBytes;
    public const int TailBytes = PageBytes;

    /// <summary>As many requests as the kernel has outstanding by our own limit (FuseSessionOptions.BackgroundMax).</summary>
    public const int BuffersDefault = 256;

    /// <summary>Resident memory of all released buffers of the process, bytes: a quarter of what the process may use with 32 modules.</summary>
    private const long ResidentBytesMax = 64 << 20;

    private const int PageBytes = 4096;
    private const int StrideBytes = HeadroomBytes + PayloadBytesMax + TailBytes;
    private const int KeptBytes = 4 * PageBytes;

    private static long s_residentBytes;

    private readonly byte* _memory;
    private readonly int[] _free;
    private readonly int[] _references;
    private readonly int[] _touchedBytes;
    private int _freeCount;
    private bool _disposed;

    public BufferPool(int buffers = BuffersDefault)
    {
        Count = buffers;
        _memory = (byte*)LoopNative.Map(
            null, (nuint)buffers * StrideBytes, LoopNative.ProtectReadWrite, LoopNative.MapPrivateAnonymousNoReserve, -1, 0);
        if ((nint)_memory == -1)
            throw new OutOfMemoryException($"mmap of {buffers} buffers: {Native.Errno.Describe(Marshal.GetLastPInvokeError())}");
        _free = new int[buffers];
        _references = new int[buffers];
        _touchedBytes = new int[buffers];
        for (var i = 0; i < buffers; i++)
            _free[i] = buffers - 1 - i;
        _freeCount = buffers;
    }

    public int Count { get; }

    public int FreeCount => _freeCount;

    public static long ResidentBytes => Interlocked.Read(ref s_residentBytes);

    /// <summary>Start of the payload of a buffer.</summary>
    public byte* Payload(int buffer) => _memory + ((long)buffer * StrideBytes) + HeadroomBytes;

    /// <summary>Takes a buffer with one reference.</summary>
    /// <returns>False if all are in use.</returns>
    public bool TryRent(out int buffer)
    {
        buffer = -1;
        if (_freeCount == 0)
            return false;
        buffer = _free[--_freeCount];
        _references[buffer] = 1;
        return true;
    }

    public void AddReference(int buffer)
    {
        if (_references[buffer]++ <= 0)
            throw new InvalidOperationException($"Buffer {buffer} is not in use.");
    }

    /// <summary>Drops a reference; the last one gives the buffer back.</summary>
    public void Release(int buffer)
    {
        switch (--_references[buffer])
        {
            case 0:
                Trim(buffer);
                _free[_freeCount++] = buffer;
                break;
            case < 0:
                throw new InvalidOperationException($"Buffer {buffer} was released twice.");
        }
    }

    /// <summary>Notes how much of the payload has been filled.</summary>
    public void Touched(int buffer, int payloadBytes)
    {
        var bytes = (payloadBytes + HeadroomBytes + PageBytes - 1) & ~(PageBytes - 1);
        if (bytes <= _touchedBytes[buffer])
            return;
        Interlocked.Add(ref s_residentBytes, bytes - _touchedBytes[buffer]);
        _touchedBytes[buffer] = bytes;
    }

    public void Dispose()
    {
        // The address may be somebody else's by the time of a second call.
        if (Interlocked.Exchange(ref _disposed, true))
            return;
        var resident = 0L;
        foreach (var bytes in _touchedBytes)
            resident += bytes;
        Interlocked.Add(ref s_residentBytes, -resident);
        _ = LoopNative.Unmap(_memory, (nuint)Count * StrideBytes);
    }

    private void Trim(int buffer)
    {
        if (_touchedBytes[buffer] <= KeptBytes || Interlocked.Read(ref s_residentBytes) <= ResidentBytesMax)
            return;
        // SAFETY: private anonymous memory of this buffer, which nobody uses now; it reads as zeros afterwards.
        _ = LoopNative.Advise(Payload(buffer) - HeadroomBytes + KeptBytes, StrideBytes - KeptBytes, LoopNative.AdviseDontNeed);
        Interlocked.Add(ref s_residentBytes, KeptBytes - _touchedBytes[buffer]);
        _touchedBytes[buffer] = KeptBytes;
    }
}
