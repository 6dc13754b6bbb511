using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>What is known of an older copy.</summary>
/// <param name="Epoch">Epoch of the record when it was made; also its number.</param>
/// <param name="DataState">State of the copy it was made of: UpToDate or Outdated.</param>
/// <param name="LostPower">The host had lost power before: it is what a disk holds after a power cut.</param>
internal sealed record OlderCopyAbout(long Epoch, DataState DataState, Guid SyncBase, bool LostPower, long MadeUnixMs)
{
    /// <summary>For people; null: it cannot be read, or a newer version wrote it.</summary>
    public static string Describe(OlderCopyAbout? about) => about is null
        ? "what it is of cannot be read"
        : string.Create(CultureInfo.InvariantCulture,
            $"{about.DataState} of epoch {about.Epoch}{(about.LostPower ? " after a loss of power" : "")}, made {DateTimeOffset.FromUnixTimeMilliseconds(about.MadeUnixMs):yyyy-MM-dd HH:mm:ss} UTC");
}

/// <summary>The folder <c>.pollux/older</c> of one directory of a module (see <see cref="OlderCopySet"/>).</summary>
/// <remarks>
/// <code>
///   older/new/                     being made; refuse after a crash
///   older/&lt;epoch&gt;/about, tree/     complete and durable: it gets its name, by one rename, after everything in it was flushed
///   older/gone/                    being removed
/// </code>
/// <c>about</c> is a <see cref="SealedFile"/> "PLXOLDR" of version 1 with <see cref="OlderCopyAbout"/> as JSON.
/// </remarks>
internal sealed unsafe class OlderCopyFolder : IDisposable
{
    public const string AboutFile = "about";
    private const uint PrivateMode = 0x1C0; // 0700

    private static readonly byte[] FolderName = "older"u8.ToArray();
    private static readonly byte[] TreeName = "tree"u8.ToArray();
    private static readonly byte[] NewName = "new"u8.ToArray();
    private static readonly byte[] GoneName = "gone"u8.ToArray();

    private readonly int fd;

    private OlderCopyFolder(int fd) => this.fd = fd;

    /// <param name="hidden">The directory <c>.pollux</c>.</param>
    /// <returns>Null: there is none.</returns>
    public static OlderCopyFolder? OpenIfThere(int hidden)
    {
        var folder = TryOpen(hidden, FolderName);
        return folder < 0 && Libc.LastErrno != Errno.ENOENT ? throw StorageException.FromLastErrno("opening .pollux/older")
            : folder < 0 ? null : new(folder);
    }

    public static OlderCopyFolder OpenOrMake(int hidden)
    {
        Make(hidden, FolderName);
        return new(Opened(hidden, FolderName));
    }

    public void Dispose() => _ = Libc.Close(fd);

    /// <summary>The complete copies: none or one.</summary>
    public IReadOnlyList<long> Complete() =>
    [
        .. ObjectStore.ListDirectory(fd).Select(static name => long.TryParse(Encoding.ASCII.GetString(name), NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : -1)
            .Where(static n => n >= 0),
    ];

    /// <summary>Something that a crash or a stop left behind is to be removed.</summary>
    public bool HasRefuse => ObjectStore.ListDirectory(fd).Any(static name => name.AsSpan().SequenceEqual(NewName) || name.AsSpan().SequenceEqual(GoneName));

    /// <returns>Null: damaged, or written by a newer version.</returns>
    public OlderCopyAbout? About(long number)
    {
        try
        {
            return Sealed($"/proc/self/fd/{fd}/{Name(number)}").Load() is { Damage: null } content
                ? JsonSerializer.Deserialize(content.Payload, OlderCopyJson.Default.OlderCopyAbout)
                : null;
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Makes a copy of the module's directory; when it returns, the copy is complete and durable.</summary>
    public TreeCopied Add(int module, OlderCopyAbout about, TreeCopyOptions options)
    {
        Make(fd, NewName);
        var making = Opened(fd, NewName);
        try
        {
            Make(making, TreeName);
            var tree = Opened(making, TreeName);
            TreeCopied copied;
            try
            {
                copied = TreeCopy.Run(module, tree, options);
            }
            finally
            {
                _ = Libc.Close(tree);
            }
            Sealed($"/proc/self/fd/{making}").Save(JsonSerializer.SerializeToUtf8Bytes(about, OlderCopyJson.Default.OlderCopyAbout));
            Must(Libc.SyncFs(making), "flushing the older copy");
            Rename(NewName, NameBytes(about.Epoch));
            return copied;
        }
        finally
        {
            _ = Libc.Close(making);
        }
    }

    /// <summary>Keeps readers away from a copy.</summary>
    /// <returns>Null: it is being read.</returns>
    public IDisposable? TryHoldAlone(long number) => Lock(number, Libc.LockExclusive);

    /// <summary>Takes a copy's name away, which nobody reads. What is left of it is removed by <see cref="RemoveRefuse"/>.</summary>
    public void TakeAway(long number)
    {
        _ = TreeRemoval.Run(fd, GoneName, static () => false);
        Rename(NameBytes(number), GoneName);
    }

    /// <returns>False if it was stopped before the end.</returns>
    public bool RemoveRefuse(Func<bool> stop) => TreeRemoval.Run(fd, GoneName, stop) && TreeRemoval.Run(fd, NewName, stop);

    /// <summary>The copy's tree for reading, kept from being removed until <paramref name="held"/> is disposed of.</summary>
    /// <returns>Null: it is being removed.</returns>
    public SafeFileHandle? OpenTree(long number, out IDisposable? held)
    {
        var copy = Lock(number, Libc.LockShared);
        held = copy;
        return copy is null ? null : new(Opened((int)copy.DangerousGetHandle(), TreeName), ownsHandle: true);
    }

    private SafeFileHandle? Lock(long number, int how)
    {
        var handle = new SafeFileHandle(Opened(fd, NameBytes(number)), ownsHandle: true);
        if (Libc.FLock((int)handle.DangerousGetHandle(), how | Libc.LockNonBlocking) == 0)
            return handle;
        var error = Libc.LastErrno;
        handle.Dispose();
        return error == Errno.EAGAIN ? null : throw new StorageException("locking an older copy", error);
    }

    private void Rename(byte[] oldName, byte[] newName)
    {
        byte* source = stackalloc byte[EntryName.BufferBytes], target = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(oldName, source);
        EntryName.Terminate(newName, target);
        Must(Libc.RenameAt2(fd, source, fd, target, Libc.RenameNoReplace), "renaming an older copy");
        Must(Libc.FSync(fd), "flushing .pollux/older");
    }

    private static SealedFile Sealed(string copy) => new(Path.Combine(copy, AboutFile), "PLXOLDR\0", 1, "What is known of an older copy", 64 * 1024);

    private static string Name(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static byte[] NameBytes(long number) => Encoding.ASCII.GetBytes(Name(number));

    private static void Make(int parent, byte[] entryName)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        if (Libc.MkDirAt(parent, name, PrivateMode) != 0 && Libc.LastErrno != Errno.EEXIST)
            throw StorageException.FromLastErrno("making a directory in .pollux");
    }

    private static int TryOpen(int parent, byte[] entryName)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        return Libc.OpenAt(parent, name, OpenFlags.Directory | OpenFlags.NoFollow | OpenFlags.CloseOnExec);
    }

    private static int Opened(int parent, byte[] entryName)
    {
        var opened = TryOpen(parent, entryName);
        return opened >= 0 ? opened : throw StorageException.FromLastErrno($"opening {Encoding.UTF8.GetString(entryName)} in .pollux");
    }

    private static void Must(int result, string operation)
    {
        if (result != 0)
            throw StorageException.FromLastErrno(operation);
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, RespectRequiredConstructorParameters = true, UseStringEnumConverter = true)]
[JsonSerializable(typeof(OlderCopyAbout))]
internal sealed partial class OlderCopyJson : JsonSerializerContext;
