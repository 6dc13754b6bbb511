using System.Text;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>Replaces a small file so that after a crash either the old or the new content is there, whole: temporary file, fsync,
/// rename, fsync of the directory.</summary>
internal static unsafe class DurableFile
{
    public const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public static void Replace(string path, string text) => Replace(path, Encoding.UTF8.GetBytes(text));

    /// <summary>The file belongs to its owner only, whatever mode an older one had.</summary>
    /// <exception cref="StorageException">It may or may not have been stored.</exception>
    public static void Replace(string path, ReadOnlySpan<byte> content)
    {
        try
        {
            ReplaceFile(path, content);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or (IOException and not StorageException))
        {
            throw new StorageException(StorageFault.Io, $"Storing {path} failed: {e.Message}");
        }
    }

    private static void ReplaceFile(string path, ReadOnlySpan<byte> content)
    {
        var temporary = path + ".new";
        File.Delete(temporary);
        using (var file = new FileStream(temporary, new FileStreamOptions
        {
            Mode = FileMode.CreateNew, Access = FileAccess.Write, BufferSize = 0, UnixCreateMode = OwnerOnly,
        }))
        {
            file.Write(content);
            file.Flush(flushToDisk: true);
        }
        File.Move(temporary, path, overwrite: true);
        FlushDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    private static void FlushDirectory(string directory)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(directory + '\0'))
        {
            var fd = Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.Directory | OpenFlags.CloseOnExec);
            if (fd < 0)
                throw StorageException.FromLastErrno($"open {directory}");
            var error = Libc.FSync(fd) != 0 ? Libc.LastErrno : Errno.None;
            _ = Libc.Close(fd);
            if (error != 0)
                throw new StorageException($"fsync {directory}", error);
        }
    }
}
