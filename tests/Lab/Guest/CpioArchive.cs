using System.Text;

namespace Pollux.Lab.Guest;

/// <summary>Writes an archive in cpio's "newc" format, which the kernel unpacks as the initial root file system
/// (Documentation/driver-api/early-userspace/buffer-format.rst). Owner is root, times are zero, so that equal input gives
/// an equal archive.</summary>
public sealed class CpioArchive(Stream output)
{
    private const int DirectoryMode = 0x4000;
    private const int FileMode = 0x8000;
    private const int LinkMode = 0xA000;

    private int _inode;

    public void AddDirectory(string path) => Add(path, DirectoryMode | 0b111_101_101, []);

    public void AddProgram(string path, byte[] content) => Add(path, FileMode | 0b111_101_101, content);

    public void AddFile(string path, byte[] content) => Add(path, FileMode | 0b110_100_100, content);

    public void AddLink(string path, string target) => Add(path, LinkMode | 0b111_111_111, Encoding.ASCII.GetBytes(target));

    /// <summary>Ends the archive; nothing may be added afterwards.</summary>
    public void Complete() => Add("TRAILER!!!", 0, []);

    private void Add(string path, int mode, byte[] content)
    {
        var name = Encoding.ASCII.GetBytes(path + '\0');
        // magic, inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name size, check
        int[] fields = [++_inode, mode, 0, 0, 1, 0, content.Length, 0, 0, 0, 0, name.Length, 0];
        output.Write(Encoding.ASCII.GetBytes("070701" + string.Concat(fields.Select(field => field.ToString("x8")))));
        output.Write(name);
        Pad(110 + name.Length);
        output.Write(content);
        Pad(content.Length);
    }

    private void Pad(int writtenBytes)
    {
        for (var i = writtenBytes; i % 4 != 0; i++)
            output.WriteByte(0);
    }
}
