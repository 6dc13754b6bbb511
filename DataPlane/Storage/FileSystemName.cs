using System.Globalization;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>Names of file systems for messages to people, by the magic numbers of statfs(2).</summary>
internal static unsafe class FileSystemName
{
    public static string Of(int fd)
    {
        StatFs raw;
        if (Libc.FStatFs(fd, &raw) != 0)
            return "this file system";
        return (uint)raw.Type switch
        {
            // ext2 and ext3 have the same number; whoever uses them knows.
            0xEF53 => "ext4",
            0x58465342 => "XFS",
            0x9123683E => "btrfs",
            0x01021994 => "tmpfs",
            0xF2F52010 => "F2FS",
            0x2FC12FC1 => "ZFS",
            0x6969 => "NFS",
            var magic => "a file system of type 0x" + magic.ToString("x", CultureInfo.InvariantCulture),
        };
    }
}
