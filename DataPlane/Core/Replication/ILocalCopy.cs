namespace Pollux.DataPlane.Core.Replication;

/// <summary>What a machine has done to, or asks of, this host's copy. Each call only queues; its end is an input of the machine that asked,
/// with the same slot, later. At most <see cref="WriteLedger.Slots"/> slots are in use at once.</summary>
/// <remarks>
/// <para>Order: writes, holes and hashes of one object are executed in the order in which they were queued. A machine asks for a
/// mutation, a manifest or a stat only when nothing runs that its result depends on. Everything else may run side by side.</para>
/// <para>Errors are positive Linux error numbers. A write or mutation that fails may have been done in part.</para>
/// </remarks>
public interface ILocalCopy
{
    /// <summary>Writes into the page cache. Ends with LocalWritten.</summary>
    void LocalWrite(int slot, ulong obj, long offsetBytes, DataRef data);

    /// <summary>Makes an object (0: the whole copy) stable, its attributes too unless <paramref name="dataOnly"/>. Ends with LocalFlushed.</summary>
    void LocalFlush(int slot, ulong obj, bool dataOnly);

    /// <summary>Ends with LocalMutated.</summary>
    void LocalMutation(int slot, Mutation mutation);

    /// <summary>Ends with LocalStatted.</summary>
    void LocalStat(int slot, ulong obj);

    /// <summary>Reads the object's size and what is in the range, zeros behind the end of the file. Ends with LocalRepairRead.</summary>
    void LocalRepairRead(int slot, ulong obj, long offsetBytes, int lengthBytes);

    /// <summary>Reads the first piece of a range for a copy: see <see cref="CopyPiece.Plan"/>. Ends with LocalCopyRead.</summary>
    void LocalCopyRead(int slot, ulong obj, long offsetBytes, long lengthBytes);

    /// <summary>SHA-256 of what the file has in the range, up to its end. Ends with LocalHashed.</summary>
    void LocalHash(int slot, ulong obj, long offsetBytes, int lengthBytes);

    /// <summary>What of objects beside content is compared, as the disk has it. Ends with EntriesDescribed.</summary>
    void LocalDescribe(int batch, IReadOnlyList<ulong> objects);

    /// <summary>Makes a range read as zeros, deallocated where the file system can. The size stays. Ends with LocalWritten.</summary>
    void LocalHole(int slot, ulong obj, long offsetBytes, long lengthBytes);

    /// <summary>Lists the tree. No mutation runs meanwhile; writes may. Ends with ManifestTaken.</summary>
    void TakeManifest();

    /// <summary>Makes the tree equal to a manifest, and that stable. Ends with ManifestApplied. New files, and those of earlier manifests whose
    /// content was never settled, are remembered on disk as waiting for their whole content.</summary>
    void ApplyManifest(IReadOnlyList<ManifestEntry> entries);

    /// <summary>No file waits for its whole content any more; stable. Ends with ContentSettled.</summary>
    void SettleContent();

    /// <summary>Keeps a consistent older copy, where the file system can, before a resync changes anything. Never fails: a resync without one is as
    /// safe as the mirror was. Ends with CopyPreserved.</summary>
    void PreserveCopy();

    /// <summary>The older copy may go: this copy is up to date again, or the disk has no room left for the resync itself. No answer.</summary>
    void DropPreserved(bool noRoom);

    /// <summary>Makes durable that ids up to this one are given away. Ends with IdsReserved.</summary>
    void ReserveIds(ulong upTo);

    /// <summary>The machine needs these bytes no longer, once the sends queued before this are executed.</summary>
    void ReleaseData(DataRef data);
}
