using System.Buffers.Text;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>Rules for entry names and attribute names, and their zero-terminated form.</summary>
internal static unsafe class EntryName
{
    /// <summary>NAME_MAX of Linux, bytes (linux/limits.h); XATTR_NAME_MAX is the same.</summary>
    public const int LengthMax = 255;

    /// <summary>Room for a name and its terminating zero.</summary>
    public const int BufferBytes = LengthMax + 1;

    /// <summary>Room for "/proc/self/fd/", ten digits, a slash, a name and a zero.</summary>
    public const int ProcPathBytes = 14 + 10 + 1 + BufferBytes;

    public static ReadOnlySpan<byte> PrivateXattrPrefix => "trusted.pollux."u8;

    public static ReadOnlySpan<byte> Dot => "."u8;

    /// <summary>Names that Pollux keeps for itself in the root of a module's directory: neither seen nor created by users.</summary>
    public static bool IsReserved(ulong parent, ReadOnlySpan<byte> name) =>
        ModuleRoots.Contains(parent) && name.StartsWith(".pollux"u8);

    /// <summary>0, or why the name cannot be an entry. It may come from the network: a slash must never reach a system call.</summary>
    public static int Check(ReadOnlySpan<byte> name) =>
        name.IsEmpty ? Errno.ENOENT
        : name.Length > LengthMax ? Errno.ENAMETOOLONG
        : name.IndexOfAny((byte)'/', (byte)0) >= 0 || name.SequenceEqual("."u8) || name.SequenceEqual(".."u8) ? Errno.EINVAL
        : Errno.None;

    public static int CheckXattr(ReadOnlySpan<byte> name) =>
        name.IsEmpty || name.Length > LengthMax ? Errno.ERANGE : name.Contains((byte)0) ? Errno.EINVAL : Errno.None;

    /// <summary>Copies a checked name into <paramref name="buffer"/> of <see cref="BufferBytes"/>.</summary>
    public static void Terminate(ReadOnlySpan<byte> name, byte* buffer)
    {
        // SAFETY: callers have checked the length and give a buffer of BufferBytes.
        name.CopyTo(new Span<byte>(buffer, LengthMax));
        buffer[name.Length] = 0;
    }

    /// <summary>Writes "/proc/self/fd/N/name" into <paramref name="buffer"/> of <see cref="ProcPathBytes"/>: the way to the xattr calls,
    /// which know no *at form. The kernel resolves the descriptor itself, so mounts over the directory do not matter.</summary>
    public static void ProcPath(int fd, ReadOnlySpan<byte> name, byte* buffer)
    {
        // SAFETY: the buffer holds the prefix, any int, and a checked name.
        var path = new Span<byte>(buffer, ProcPathBytes);
        "/proc/self/fd/"u8.CopyTo(path);
        Utf8Formatter.TryFormat(fd, path[14..], out var digits);
        path = path[(14 + digits)..];
        path[0] = (byte)'/';
        name.CopyTo(path[1..]);
        path[1 + name.Length] = 0;
    }

    /// <summary>The name of an object in the internal directories: its id in 16 hexadecimal digits.</summary>
    public static byte[] ForId(ulong id)
    {
        var name = new byte[16];
        id.TryFormat(name, out _, "x16");
        return name;
    }
}
