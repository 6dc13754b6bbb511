using System.Globalization;
using System.Text;

namespace Pollux.DataPlane.Fuse;

/// <summary>One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).</summary>
/// <param name="DeviceMinor">Minor of the mounted file system's device number: of a FUSE mount, the number of its connection.</param>
internal readonly record struct MountEntry(string Path, string Type, string Source, int DeviceMinor);

/// <summary>The mounts that this process sees.</summary>
internal static class MountTable
{
    /// <summary>Mounts made exactly on <paramref name="path"/>, the topmost last.</summary>
    public static List<MountEntry> On(string path) => On(path, "/proc/self/mountinfo");

    /// <param name="table">Of a thread in a mount namespace of its own: /proc/thread-self/mountinfo.</param>
    public static List<MountEntry> On(string path, string table)
    {
        var found = new List<MountEntry>();
        foreach (var line in File.ReadLines(table))
        {
            if (TryParse(line, out var entry) && entry.Path == path)
                found.Add(entry);
        }

        return found;
    }

    public static bool TryParse(string line, out MountEntry entry)
    {
        entry = default;
        var fields = line.Split(' ');
        var separator = Array.IndexOf(fields, "-", Math.Min(6, fields.Length));
        if (separator < 0 || fields.Length < separator + 3)
            return false;
        var device = fields[2].Split(':');
        if (device.Length != 2 || !int.TryParse(device[1], CultureInfo.InvariantCulture, out var minor))
            return false;
        entry = new MountEntry(Unescape(fields[4]), fields[separator + 1], Unescape(fields[separator + 2]), minor);
        return true;
    }

    /// <summary>The kernel writes space, tab, newline and backslash as three octal digits.</summary>
    private static string Unescape(string text)
    {
        if (!text.Contains('\\'))
            return text;
        var bytes = Encoding.UTF8.GetBytes(text);
        var length = 0;
        for (var i = 0; i < bytes.Length; i++)
        {
            if (bytes[i] == '\\' && i + 3 < bytes.Length)
            {
                bytes[length++] = (byte)(((bytes[i + 1] - '0') << 6) | ((bytes[i + 2] - '0') << 3) | (bytes[i + 3] - '0'));
                i += 3;
            }
            else
            {
                bytes[length++] = bytes[i];
            }
        }

        return Encoding.UTF8.GetString(bytes, 0, length);
    }
}
