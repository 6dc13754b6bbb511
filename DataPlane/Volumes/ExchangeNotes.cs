using System.Buffers.Binary;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Volumes;

/// <summary>What two names meant before they were exchanged, for a process that gets the request again and must know whether it was done.</summary>
/// <remarks>
/// One small file per exchange that the kernel has no answer to, named by the request's number. It is written before the exchange and
/// removed after the answer. It has to outlive the process, not the machine: with that the users of the mount are gone too, so nothing is
/// flushed. Any thread.
/// </remarks>
/// <param name="directory">The module's own; need not exist.</param>
public sealed class ExchangeNotes(string directory)
{
    private const int NoteBytes = 2 * sizeof(ulong);

    /// <summary>For a mount of this process's own: request numbers begin anew.</summary>
    public void Clear()
    {
        if (Directory.Exists(directory))
            Directory.Delete(directory, recursive: true);
    }

    /// <param name="request">The kernel's number of it, without <see cref="Fuse.FuseRequest.ResentBit"/>.</param>
    /// <param name="before">Ids of the objects at the old and the new name; 0: none.</param>
    /// <returns>False if it cannot be noted: then it must not be done.</returns>
    public bool TryBegin(ulong request, (ulong First, ulong Second) before)
    {
        var note = new byte[NoteBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(note, before.First);
        BinaryPrimitives.WriteUInt64LittleEndian(note.AsSpan(sizeof(ulong)), before.Second);
        try
        {
            Directory.CreateDirectory(directory);
            File.WriteAllBytes(PathOf(request), note);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            HostLog.Error("volume", "an exchange of two names was refused: it cannot be noted", ("reason", e.Message));
            return false;
        }
    }

    /// <returns>Null: such an exchange was not begun.</returns>
    public (ulong First, ulong Second)? Find(ulong request)
    {
        // One that is not whole was being written: the exchange came after it.
        if (!File.Exists(PathOf(request)) || File.ReadAllBytes(PathOf(request)) is not { Length: NoteBytes } note)
            return null;
        return (BinaryPrimitives.ReadUInt64LittleEndian(note), BinaryPrimitives.ReadUInt64LittleEndian(note.AsSpan(sizeof(ulong))));
    }

    /// <summary>The kernel has its answer. Does not wait for the disk.</summary>
    public void End(ulong request) => ThreadPool.UnsafeQueueUserWorkItem(path =>
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            HostLog.Warn("volume", "a note of an exchange of two names stays behind", ("path", path), ("reason", e.Message));
        }
    }, PathOf(request), preferLocal: false);

    private string PathOf(ulong request) => Path.Combine(directory, $"{request:x}");
}
