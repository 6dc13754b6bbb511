using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace Pollux.Lab.Product;

/// <summary>Compares two copies of a module's directory byte for byte: names, types, modes, owners, sizes, times of modification, numbers of
/// links, link targets, extended attributes with ACLs, content. What begins with <c>.pollux</c> at the root belongs to the data plane and
/// is not part of the module. Names may be any bytes.</summary>
public static class DirectoryComparison
{
    /// <summary>Records that end with a zero: what stat says, the target of a link, the hash of content, each with a tab and the name, which comes
    /// last, so that nothing in it matters; and a file's attributes as one text, name included.</summary>
    private const string Listing = """
        set -e -o pipefail; export LC_ALL=C; cd "$0"
        entries() { find . -mindepth 1 -path './.pollux*' -prune -o "$@"; }
        entries -type d -printf 'stat %y %m %U:%G - %T@ -\t%P\0' -o -printf 'stat %y %m %U:%G %s %T@ %n\t%P\0'
        entries -type l -printf 'target %l\t%P\0'
        entries -type f -print0 | xargs -0 -r sha256sum -z --binary | sed -z 's/^\([0-9a-f]*\) \*\.\/\(.*\)/content \1\t\2/'
        entries ! -type l -print0 | xargs -0 -r getfattr -d -e hex -m '^(user|system|security)\.' -- | tr '\n' '\t' | sed 's/\t\t/\o0/g; s/# file: /attributes of /g'
        """;

    /// <summary>The differences, one sentence each; empty when the copies are equal.</summary>
    public static async Task<IReadOnlyList<string>> CompareAsync(string one, string other)
    {
        var first = await DescribeAsync(one);
        var second = await DescribeAsync(other);
        var differences = new List<string>();
        foreach (var path in first.Keys.Union(second.Keys).Order(StringComparer.Ordinal))
        {
            first.TryGetValue(path, out var left);
            second.TryGetValue(path, out var right);
            if (left != right)
                differences.Add($"{path}: {left ?? "absent"} | {right ?? "absent"}{FirstDifference(one, other, path)}");
        }
        return differences;
    }

    /// <summary>Bytes of file content, for reports.</summary>
    public static long ContentBytes(string folder) =>
        new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length);

    /// <summary>Names as Latin-1, which keeps any byte.</summary>
    private static async Task<Dictionary<string, string>> DescribeAsync(string folder)
    {
        var start = new ProcessStartInfo("bash", ["-c", Listing, folder])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, StandardOutputEncoding = Encoding.Latin1,
        };
        using var process = Process.Start(start) ?? throw new LabException("bash did not start.");
        var error = process.StandardError.ReadToEndAsync();
        var listing = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
            throw new LabException($"{folder} could not be described: {await error}");
        var entries = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var record in listing.Split('\0', StringSplitOptions.RemoveEmptyEntries))
        {
            var at = record.StartsWith("attributes of ", StringComparison.Ordinal) ? -1 : record.IndexOf('\t', StringComparison.Ordinal);
            var (text, path) = at < 0 ? ("there", record) : (record[..at], record[(at + 1)..]);
            entries[path] = entries.TryGetValue(path, out var known) ? $"{known}, {text}" : text;
        }
        return entries;
    }

    private static string FirstDifference(string one, string other, string path)
    {
        path = Encoding.UTF8.GetString(Encoding.Latin1.GetBytes(path));
        var (left, right) = (Path.Combine(one, path), Path.Combine(other, path));
        if (!File.Exists(left) || !File.Exists(right))
            return "";
        using var a = File.OpenRead(left);
        using var b = File.OpenRead(right);
        var (bufferA, bufferB) = (new byte[4096], new byte[4096]);
        long first = -1, blocks = 0;
        for (long offset = 0; offset < Math.Min(a.Length, b.Length); offset += bufferA.Length)
        {
            var countA = a.ReadAtLeast(bufferA, bufferA.Length, throwOnEndOfStream: false);
            var countB = b.ReadAtLeast(bufferB, bufferB.Length, throwOnEndOfStream: false);
            if (bufferA.AsSpan(0, countA).SequenceEqual(bufferB.AsSpan(0, countB)))
                continue;
            first = first < 0 ? offset : first;
            blocks++;
        }
        return first < 0 ? "" : string.Create(CultureInfo.InvariantCulture, $" (first different block at {first}, {blocks} blocks of 4 KiB)");
    }
}
