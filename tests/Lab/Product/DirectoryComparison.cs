using System.Globalization;
using System.Security.Cryptography;

namespace Pollux.Lab.Product;

/// <summary>Compares two copies of a module's directory byte for byte: names, types, modes, owners, link targets, content.
/// What begins with <c>.pollux</c> at the root belongs to the data plane and is not part of the module.</summary>
public static class DirectoryComparison
{
    private const string OwnPrefix = ".pollux";

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

    private static async Task<Dictionary<string, string>> DescribeAsync(string folder)
    {
        // find prints what stat(2) says; .NET's own API hides owners and special files.
        var listing = (await Shell.CheckAsync("find", folder, "-mindepth", "1", "-printf", "%P\\t%y\\t%m\\t%U:%G\\t%s\\t%l\\0")).Output;
        var entries = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var entry in listing.Split('\0', StringSplitOptions.RemoveEmptyEntries))
        {
            var fields = entry.Split('\t');
            var (path, type) = (fields[0], fields[1]);
            if (path.StartsWith(OwnPrefix, StringComparison.Ordinal))
                continue;
            // The size of a directory depends on the file system, not on what is in it.
            var size = type == "d" ? "" : $" {fields[4]} bytes";
            var content = type == "f" ? " sha256 " + await HashAsync(Path.Combine(folder, path)) : "";
            entries[path] = $"{type} {fields[2]} {fields[3]}{size}{content}{(fields[5].Length > 0 ? " -> " + fields[5] : "")}";
        }
        return entries;
    }

    private static async Task<string> HashAsync(string path)
    {
        await using var file = File.OpenRead(path);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(file));
    }

    private static string FirstDifference(string one, string other, string path)
    {
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
