using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>An open file descriptor that is closed when its last user lets go. The cache owns one reference; whoever does I/O takes one
/// more for the time of the call, so eviction never closes a descriptor under a running pread.</summary>
internal sealed class Descriptor(int fd, bool writable) : IRingFile
{
    // Number of references; 0 means closed, and nobody can come back from 0.
    private int references = 1;

    public int Fd { get; } = fd;

    public bool Writable { get; } = writable;

    public bool TryAcquire()
    {
        var seen = Volatile.Read(ref references);
        while (seen > 0)
        {
            var before = Interlocked.CompareExchange(ref references, seen + 1, seen);
            if (before == seen)
                return true;
            seen = before;
        }
        return false;
    }

    public void Release()
    {
        if (Interlocked.Decrement(ref references) == 0)
            _ = Libc.Close(Fd);
    }
}
