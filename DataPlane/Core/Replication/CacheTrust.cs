namespace Pollux.DataPlane.Core.Replication;

/// <summary>Whether what is read of a copy may be taken for what its disk holds, or will hold after the next flush.</summary>
/// <remarks>A write-back that fails leaves pages in memory that count as written and are on no disk; the kernel tells it once, to a process that
/// may die before it has stored it. So a failed flush counts as a loss of power of this copy: before the copy is opened for the first time in
/// a process, and after a fault, everything is flushed, every file is asked for what it has to tell, and its clean cached pages are dropped. Then
/// what is read is the disk's, or dirty, and rule S6 has marked what the peer may hold instead. A failure that is told then is a fault like any
/// other: the opening after it has heard them all. Faults come from the module's loop, openings from elsewhere.</remarks>
public sealed class CacheTrust
{
    private volatile bool _mustDrop = true;

    /// <summary>Before the next opening the clean cached pages of all files must go.</summary>
    public bool MustDrop => _mustDrop;

    /// <summary>They have gone.</summary>
    public void Dropped() => _mustDrop = false;

    /// <summary>A machine has reported a local fault.</summary>
    public void Fault() => _mustDrop = true;
}
