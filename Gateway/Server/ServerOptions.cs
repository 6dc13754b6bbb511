using System.Collections.Immutable;
using System.Net;
using Pollux.Silo;

namespace Pollux.Gateway.Server;

/// <summary>Which parts of the control plane a process holds.</summary>
public enum ServerParts
{
    /// <summary>Silo and gateway: <c>pollux server</c>.</summary>
    All,

    /// <summary><c>pollux silo</c>.</summary>
    Silo,

    /// <summary><c>pollux gateway</c>.</summary>
    Gateway,
}

/// <param name="DataDirectory">Authority, operator token, SQLite.</param>
/// <param name="Listen">Address and TCP port of API and host sessions; port 0 takes a free one.</param>
/// <param name="Advertise">Names and addresses that the server's certificate carries besides the machine's own.</param>
/// <param name="SiloAddress">Where other silos and gateways reach this silo; null for the machine's first address.</param>
/// <param name="PostgreSql">Npgsql connection string, or null for SQLite in the data directory.</param>
public sealed record ServerOptions(
    string DataDirectory, IPEndPoint Listen, ImmutableArray<string> Advertise, string? PostgreSql = null, ServerParts Parts = ServerParts.All,
    int SiloPort = PolluxSiloOptions.SiloPortDefault, int ClientPort = PolluxSiloOptions.ClientPortDefault,
    IPAddress? SiloAddress = null)
{
    /// <summary>As in <see cref="PolluxSiloOptions.Restored"/>.</summary>
    public bool Restored { get; init; }

    public const string DataDirectoryDefault = "/var/lib/pollux";
    public const int PortDefault = 7400;

    internal PolluxSiloOptions Silo => new()
    {
        SqliteFile = Path.Combine(DataDirectory, "pollux.db"),
        PostgreSql = PostgreSql,
        Restored = Restored,
        Clustered = Parts != ServerParts.All,
        Address = SiloAddress,
        SiloPort = SiloPort,
        ClientPort = ClientPort,
    };
}
