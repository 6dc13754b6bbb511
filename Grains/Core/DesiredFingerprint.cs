using System.Security.Cryptography;
using System.Text.Json;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>Tells whether two desired states are the same but for their version.</summary>
public static class DesiredFingerprint
{
    public static string Of(DesiredHost desired) =>
        Convert.ToHexStringLower(SHA256.HashData(JsonSerializer.SerializeToUtf8Bytes(desired with { Version = 0 })));
}
