using System.Security.Authentication;
using Microsoft.AspNetCore.Connections.Features;
using Pollux.Gateway.Api;
using Pollux.Gateway.Authority;
using Pollux.Gateway.Server;
using Pollux.Grains.Abstractions;
using Pollux.HostProtocol;

namespace Pollux.Gateway.Sessions;

/// <summary>Where hosts dial in. Who it is stands in the client certificate; everything else comes after that is known.</summary>
internal static class HostSessionEndpoint
{
    private const string NotServed = "This connection is not served; nothing was changed.";

    public static void Map(IEndpointRouteBuilder app) => app.Map(HostProtocolLimits.Path, AcceptAsync).ExcludeFromDescription();

    private static async Task AcceptAsync(HttpContext http, CertificateAuthority authority, HostSessions sessions)
    {
        if (Refuse(http, authority, out var host, out var publicKeyHash) is { } problem)
        {
            GatewayTelemetry.SessionsRefused.Add(1, new KeyValuePair<string, object?>("code", problem.Code));
            await ProblemResults.Of(problem, StatusCodes.Status403Forbidden).ExecuteAsync(http);
            return;
        }
        if (!sessions.TryEnter())
        {
            await ProblemResults.Of(SessionProblems.TooMany, StatusCodes.Status503ServiceUnavailable).ExecuteAsync(http);
            return;
        }
        try
        {
            using var socket = await http.WebSockets.AcceptWebSocketAsync();
            await sessions.RunAsync(socket, host, publicKeyHash, http.RequestAborted);
        }
        finally
        {
            sessions.Leave();
        }
    }

    private static Problem? Refuse(HttpContext http, CertificateAuthority authority, out string host, out string publicKeyHash)
    {
        (host, publicKeyHash) = ("", "");
        if (!http.WebSockets.IsWebSocketRequest)
            return new Problem("host.no-websocket", "Not a host session", NotServed, "This address speaks WebSocket only.", "Hosts dial it: pollux-host run.");
        if (http.Features.Get<ITlsHandshakeFeature>()?.Protocol != SslProtocols.Tls13)
            return new Problem("host.tls", "TLS too old", NotServed, "Host sessions need TLS 1.3.", "Update the machine's OpenSSL.");
        if (http.Connection.ClientCertificate is not { } certificate)
            return new Problem("host.certificate-missing", "No certificate", NotServed, "The connection brought no client certificate.",
                "Join the host: pollux-host join.");
        if (!authority.Signed(certificate) || HostName.Of(certificate) is not { } name)
            return new Problem("host.certificate-foreign", "Certificate not accepted", NotServed,
                "The certificate is not a valid one of this installation's authority for a host, or has expired.",
                "Join the host with a new token: pollux host token CLUSTER/HOST.");
        (host, publicKeyHash) = (name, HostName.PublicKeyHash(certificate.PublicKey));
        return null;
    }
}
