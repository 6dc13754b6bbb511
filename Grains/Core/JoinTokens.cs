using System.Security.Cryptography;
using System.Text;
using Pollux.Grains.Abstractions;
using Pollux.Grains.State;

namespace Pollux.Grains.Core;

/// <summary>One-time tokens with which a host proves that an operator let it in.</summary>
public static class JoinTokens
{
    /// <summary>One hour: time to walk to the other machine, too short to lie about in a shell history.</summary>
    public const long LifetimeMs = 3_600_000;

    /// <param name="secret">Base64url of random bytes; only its hash is kept.</param>
    public static HostState Issue(HostState state, string secret, long nowUnixMs) =>
        state with { TokenHash = Hash(secret), TokenExpiresUnixMs = nowUnixMs + LifetimeMs, TokenUsedBy = null };

    public static (Problem? Problem, HostState Next) Redeem(string host, HostState state, string secret, string publicKeyHash, long nowUnixMs)
    {
        if (state.TokenHash is null || !CryptographicOperations.FixedTimeEquals(
                Encoding.ASCII.GetBytes(state.TokenHash), Encoding.ASCII.GetBytes(Hash(secret))))
            return (Problems.TokenRefused(host, "It is not the newest token of this host."), state);
        // The first answer may have been lost on its way: the same key may ask again.
        if (state.TokenUsedBy == publicKeyHash) return (null, state);
        if (state.TokenUsedBy is not null) return (Problems.TokenRefused(host, "It has been used already."), state);
        if (nowUnixMs >= state.TokenExpiresUnixMs) return (Problems.TokenRefused(host, "It expired an hour after it was issued."), state);
        return (null, state with { TokenUsedBy = publicKeyHash, PublicKeyHash = publicKeyHash, Generation = HostState.NotCompared });
    }

    private static string Hash(string secret) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(secret)));
}
