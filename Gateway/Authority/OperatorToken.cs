using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Pollux.Gateway.Authority;

/// <summary>The bearer token of the operators' API, made at the first start.</summary>
public sealed class OperatorToken
{
    public const string FileName = "operator-token";

    private readonly byte[] _hash;

    private OperatorToken(string text) => _hash = SHA256.HashData(Encoding.UTF8.GetBytes(text));

    public static OperatorToken LoadOrCreate(string directory)
    {
        var path = Path.Combine(directory, FileName);
        if (!File.Exists(path)) PrivateFile.Write(path, Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32)) + "\n");
        return new OperatorToken(File.ReadAllText(path).Trim());
    }

    /// <summary>Takes the same time for every wrong token.</summary>
    public bool Matches(string token) => CryptographicOperations.FixedTimeEquals(SHA256.HashData(Encoding.UTF8.GetBytes(token)), _hash);
}
