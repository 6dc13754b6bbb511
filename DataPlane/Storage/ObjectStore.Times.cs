using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// Times of modification, which end equal on both hosts.
//
// A change of names carries the primary's time, and both hosts give it to the directories. A write carries none: that would cost every
// write a system call on the replica. Instead the primary sends a file's time when its last writer closes it (SettleTime). What a
// resync copies gets the time of the copying, so the times of the manifest are given once more when all content has arrived.
public sealed unsafe partial class ObjectStore
{
    // While content is arriving: times that files will have at its end. Guarded by mutationGate.
    private Dictionary<ulong, long>? arrivingTimes;

    /// <summary>Gives a directory the time at which a name in it has changed. By then the change is done, so a failure is the disk's.</summary>
    private int StampDirectory(ObjectNode directory, long modifyTimeNs)
    {
        if (modifyTimeNs == 0 || directory.Removed is not null)
            return Errno.None;
        return SetModifyTime(directory, modifyTimeNs) == 0 ? Errno.None : Errno.EIO;
    }

    private int SettleTime(Mutation m, out ObjectAttributes attributes)
    {
        attributes = default;
        if (Find(m.Object) is not { } node)
            return Errno.ESTALE;
        var error = GetAttributes(node.Id, out attributes);
        // Setting what is there already would change the time of change.
        if (error != 0 || attributes.ModifyTimeNs == m.ModifyTimeNs)
            return error;
        error = SetModifyTime(node, m.ModifyTimeNs);
        return error != 0 ? error : GetAttributes(node.Id, out attributes);
    }

    private int SetModifyTime(ObjectNode node, long modifyTimeNs)
    {
        treeLock.EnterReadLock();
        try
        {
            var error = Locate(node, out var place);
            if (error != 0)
                return error;
            using (place)
            {
                var name = stackalloc byte[EntryName.BufferBytes];
                EntryName.Terminate(place.Name, name);
                error = SetTimes(place.Fd, name, null, modifyTimeNs);
                // What somebody has made append-only (chattr +a) can be changed and takes no times but its own.
                return error == Errno.EPERM ? Errno.None : error;
            }
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    /// <summary>A time that is null stays as it is.</summary>
    private static int SetTimes(int directory, byte* name, long? accessTimeNs, long? modifyTimeNs)
    {
        var times = stackalloc Timespec[2];
        times[0] = accessTimeNs is { } access ? Timespec.FromNs(access) : new() { Nanoseconds = Timespec.Omit };
        times[1] = modifyTimeNs is { } modify ? Timespec.FromNs(modify) : new() { Nanoseconds = Timespec.Omit };
        return Libc.UTimeNsAt(directory, name, times, Libc.AtSymlinkNoFollow) == 0 ? Errno.None : Libc.LastErrno;
    }

    private void ExpectTimes(IReadOnlyCollection<ManifestEntry> entries)
    {
        arrivingTimes = [];
        foreach (var entry in entries)
        {
            if (StMode.IsRegular(entry.Mode) && entry.SizeBytes > 0)
                arrivingTimes[entry.Object] = entry.ModifyTimeNs;
        }
    }

    /// <summary>A mutation has given a file a time: content that arrives later does not change it.</summary>
    private void NoteTime(Mutation m)
    {
        if (arrivingTimes is null)
            return;
        var gives = m.Kind is MutationKind.SettleTime or MutationKind.CreateFile
            || (m.Kind == MutationKind.Allocate && m.ModifyTimeNs != 0)
            || (m.Kind == MutationKind.SetAttributes && (m.Mask & AttributeMask.ModifyTime) != 0);
        if (gives && m.ModifyTimeNs != 0)
            arrivingTimes[m.Object] = m.ModifyTimeNs;
    }

    /// <summary>Content has arrived. A file that somebody is writing gets its own time when it is closed.</summary>
    private void GiveArrivingTimes()
    {
        foreach (var (obj, modifyTimeNs) in arrivingTimes ?? [])
        {
            if (Find(obj) is not { IsRegular: true } node || IsOrphan(node))
                continue;
            Must(GetAttributes(obj, out var now), $"stat of {PathOf(node)}");
            if (now.ModifyTimeNs != modifyTimeNs)
                Must(SetModifyTime(node, modifyTimeNs), $"setting the time of {PathOf(node)}");
        }
        arrivingTimes = null;
    }
}
