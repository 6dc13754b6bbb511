using System.Security.Cryptography;

namespace Pollux.DataPlane.Replication;

/// <summary>One-time tokens that a listener has given to authenticated peers for the second, plain connection.</summary>
internal sealed class PlaintextTokens
{
    /// <summary>A dialler uses one at once; as many as connections that may greet at a time.</summary>
    public const int TokensMax = ReplicationListener.GreetingMax;

    private readonly Dictionary<string, Grant> _grants = [];

    /// <param name="nowMs">Monotonic, milliseconds.</param>
    /// <returns>Empty if too many are unused.</returns>
    public byte[] Issue(string peerHost, string module, long nowMs)
    {
        var token = RandomNumberGenerator.GetBytes(PlaintextLink.TokenBytes);
        lock (_grants)
        {
            foreach (var (key, grant) in _grants)
            {
                if (grant.EndsMs <= nowMs)
                    _grants.Remove(key);
            }
            if (_grants.Count >= TokensMax)
                return [];
            _grants.Add(Convert.ToHexString(token), new Grant(peerHost, module, nowMs + (long)ReplicationListener.GreetingDeadline.TotalMilliseconds));
        }
        return token;
    }

    /// <summary>Takes a token: it is worth nothing afterwards.</summary>
    public Grant? Redeem(ReadOnlySpan<byte> token, long nowMs)
    {
        lock (_grants)
            return _grants.Remove(Convert.ToHexString(token), out var grant) && grant.EndsMs > nowMs ? grant : null;
    }

    public sealed record Grant(string PeerHost, string Module, long EndsMs);
}
