using System.Net.WebSockets;
using Pollux.Gateway.Server;

namespace Pollux.Gateway.Sessions;

/// <summary>All host sessions of this gateway.</summary>
internal sealed class HostSessions(IGrainFactory grains, IHostApplicationLifetime lifetime, ILogger<HostSession> log)
{
    /// <summary>Two buffers of up to 1 MiB each in the worst case: 4096 sessions stay within what a server has.</summary>
    public const int SessionsMax = 4096;

    private int _open;

    public bool TryEnter()
    {
        if (Interlocked.Increment(ref _open) <= SessionsMax) return true;
        Interlocked.Decrement(ref _open);
        return false;
    }

    public void Leave() => Interlocked.Decrement(ref _open);

    /// <param name="host">Grain key that the certificate names.</param>
    public async Task RunAsync(WebSocket socket, string host, string publicKeyHash, CancellationToken aborted)
    {
        GatewayTelemetry.Sessions.Add(1);
        try
        {
            await new HostSession(socket, host, publicKeyHash, grains, log).RunAsync(lifetime.ApplicationStopping, aborted);
        }
        finally
        {
            GatewayTelemetry.Sessions.Add(-1);
        }
    }
}
