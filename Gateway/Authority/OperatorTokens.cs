using System.Buffers.Text;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Gateway.Authority;

/// <summary>The bearer tokens of the operators' API: one that is made at the first start, and one for each file of the directory
/// <c>operators</c>, whose name is the operator's in the history of modules. A file that is added or removed counts at once.</summary>
public sealed class OperatorTokens
{
    /// <summary>The first one; commands on the server's own machine use it.</summary>
    public const string FileName = "operator-token";

    public const string NamedDirectory = "operators";

    /// <summary>Operators with a token of their own; more are not read.</summary>
    public const int NamedMax = 1_000;

    /// <summary>File systems keep times in steps of up to two seconds (FAT); those of Linux in steps of the kernel's tick.</summary>
    private static readonly TimeSpan StepMax = TimeSpan.FromSeconds(2);

    private readonly string _named;
    private readonly byte[] _first;
    private volatile Read _read = new(DateTime.MinValue, false, []);

    private OperatorTokens(string directory)
    {
        _named = Path.Combine(directory, NamedDirectory);
        var first = File.ReadAllText(Path.Combine(directory, FileName)).Trim();
        if (first.Length == 0)
            throw new InvalidDataException($"{Path.Combine(directory, FileName)} is empty. Remove it: a new token is made at the next start.");
        _first = Hash(first);
    }

    /// <param name="Settled">Read so long after the directory's last change that another one has another time.</param>
    private sealed record Read(DateTime ChangedUtc, bool Settled, ImmutableArray<(string Name, byte[] Hash)> Tokens);

    public static OperatorTokens LoadOrCreate(string directory)
    {
        var path = Path.Combine(directory, FileName);
        if (!File.Exists(path)) PrivateFile.Write(path, NewToken() + "\n");
        PrivateFile.CreateDirectory(Path.Combine(directory, NamedDirectory));
        return new OperatorTokens(directory);
    }

    /// <summary>Makes the token of an operator; one that the operator had before is void.</summary>
    /// <returns>The token: it is not shown again.</returns>
    /// <exception cref="ArgumentException">Not a name.</exception>
    public static string Issue(string directory, string name)
    {
        if (!GrainKey.IsName(name) || name == OperatorContext.Default) throw new ArgumentException($"'{name}' is not a name for an operator.", nameof(name));
        var token = NewToken();
        PrivateFile.CreateDirectory(Path.Combine(directory, NamedDirectory));
        PrivateFile.Write(Path.Combine(directory, NamedDirectory, name), token + "\n");
        return token;
    }

    /// <returns>The operator's name, or null for a token that is none. Takes the same time for every wrong one.</returns>
    public string? NameOf(string token)
    {
        if (token.Length == 0) return null;
        var hash = Hash(token);
        var name = CryptographicOperations.FixedTimeEquals(hash, _first) ? OperatorContext.Default : null;
        foreach (var (operatorName, known) in Newest().Tokens)
            if (CryptographicOperations.FixedTimeEquals(hash, known)) name = operatorName;
        return name;
    }

    private Read Newest()
    {
        var changed = Directory.GetLastWriteTimeUtc(_named);
        var read = _read;
        if (read.Settled && changed == read.ChangedUtc) return read;
        var settled = DateTime.UtcNow - changed > StepMax;
        var tokens = ImmutableArray.CreateBuilder<(string, byte[])>();
        if (Directory.Exists(_named))
        {
            foreach (var path in Directory.EnumerateFiles(_named).Where(path => GrainKey.IsName(Path.GetFileName(path))).Order(StringComparer.Ordinal).Take(NamedMax))
                if (TokenOf(path) is { Length: > 0 } token) tokens.Add((Path.GetFileName(path), Hash(token)));
        }
        return _read = new Read(changed, settled, tokens.ToImmutable());
    }

    /// <summary>Null if the file was removed meanwhile or cannot be read: one operator's file must not cost the others theirs.</summary>
    private static string? TokenOf(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static string NewToken() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    private static byte[] Hash(string token) => SHA256.HashData(Encoding.UTF8.GetBytes(token));
}
