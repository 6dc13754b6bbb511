using System.Text;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Identity;

/// <summary>Replaces small text files atomically and durably: temporary file, fsync, rename, fsync of the directory.</summary>
internal static class DurableFile
{
    public const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public static void Replace(string path, string text, UnixFileMode mode)
    {
        var temporary = path + ".new";
        File.Delete(temporary);
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = mode };
        using (var file = new FileStream(temporary, options))
        {
            file.Write(Encoding.UTF8.GetBytes(text));
            file.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
        FlushDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    private static unsafe void FlushDirectory(string directory)
    {
        fixed (byte* name = Encoding.UTF8.GetBytes(directory + '\0'))
        {
            var descriptor = Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.CloseOnExec);
            if (descriptor < 0)
                throw new IOException($"Cannot open {directory}: {Errno.Describe(Libc.LastErrno)}");
            var failed = Libc.FSync(descriptor) < 0 ? Libc.LastErrno : 0;
            _ = Libc.Close(descriptor);
            if (failed != 0)
                throw new IOException($"Cannot flush {directory}: {Errno.Describe(failed)}");
        }
    }
}
