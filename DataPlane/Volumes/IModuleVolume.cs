using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <summary>Receives the ends of writes and flushes, exactly once each, on any thread, never under a lock of the volume.</summary>
public interface IVolumeCompletions
{
    /// <param name="errno">0, or a positive Linux error number.</param>
    /// <param name="count">Bytes written (writes only).</param>
    void Completed(OperationTag tag, int errno, int count);
}

/// <summary>Called once per directory entry; returns false when the caller's buffer is full.</summary>
public delegate bool DirectoryVisitor(ReadOnlySpan<byte> name, in ObjectAttributes attributes, long nextCookie);

/// <summary>The replicated content of one module while this host serves it: what front ends (FUSE, later block exports) turn I/O into.
/// Reads are local. Writes, flushes and mutations complete when every member has them (rule S2). While the volume is frozen or waits
/// for the arbiter, calls may be held: a completion then comes late, never twice and never wrong.
/// All methods may be called from several threads; results are positive errno values, 0 for success; ids are object ids, those of the roots as
/// <see cref="ModuleRoots"/> gives them.</summary>
public interface IModuleVolume
{
    /// <summary>The root of the first directory.</summary>
    const ulong RootObject = ModuleRoots.First;

    int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes);

    /// <summary>The front end drops <paramref name="count"/> references that successful lookups and creations gave it.</summary>
    void Forget(ulong obj, ulong count);

    int GetAttributes(ulong obj, out ObjectAttributes attributes);
    int ReadLink(ulong obj, Span<byte> target, out int length);

    /// <param name="flags">open(2) flags; creation flags are ignored, O_TRUNC is done by a mutation before.</param>
    int Open(ulong obj, int flags, out ulong handle);
    void Close(ulong handle);

    int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count);

    /// <param name="whence">SEEK_DATA or SEEK_HOLE.</param>
    int Seek(ulong handle, long offsetBytes, int whence, out long result);

    /// <summary>Visits entries after <paramref name="cookie"/> (0: from the start), "." and ".." included, each with its attributes; an
    /// entry given here holds no reference until the front end takes one with <see cref="Reference"/>.</summary>
    int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit);

    /// <summary>Takes a lookup reference (READDIRPLUS).</summary>
    void Reference(ulong obj);

    int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length);
    int ListXattr(ulong obj, Span<byte> names, out int length);

    /// <summary>Space of the file system below, on which the object lies.</summary>
    int StatFs(ulong obj, out VolumeSpace space);

    /// <summary>Writes at an offset. The data is consumed before the call returns; the end comes by <see cref="IVolumeCompletions"/>.</summary>
    void Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data, OperationTag tag);

    /// <summary>Makes all writes to <paramref name="obj"/> (0: to the whole volume) that completed before the call stable on every member.</summary>
    void Flush(ulong obj, bool dataOnly, OperationTag tag);

    /// <summary>Applies a mutation on every member. For the kinds that create an object leave <see cref="Mutation.Object"/> 0: the volume chooses
    /// the id. <paramref name="completed"/> is called exactly once, on any thread, with errno and, on success, the object's attributes.
    /// A creation or a link gives one lookup reference.</summary>
    void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed);
}

/// <summary>As statfs: sizes in units of <paramref name="BlockSizeBytes"/>.</summary>
public readonly record struct VolumeSpace(
    uint BlockSizeBytes, ulong Blocks, ulong BlocksFree, ulong BlocksAvailable, ulong Files, ulong FilesFree, uint NameLengthMax);
