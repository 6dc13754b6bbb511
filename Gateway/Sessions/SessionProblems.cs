using Pollux.Grains.Abstractions;
using Pollux.HostProtocol;

namespace Pollux.Gateway.Sessions;

/// <summary>Why the gateway ends or refuses a host's session. The code and the words go to the host in <see cref="Goodbye"/>.</summary>
internal static class SessionProblems
{
    public static readonly Problem TooMany = new(
        "gateway.sessions", "Too many host sessions", "The host is not served by this gateway for now.",
        $"This gateway serves {HostSessions.SessionsMax} sessions and has as many.", "Run another gateway.");

    public static readonly Goodbye Malformed = new("message.malformed", "A message was not one of the host protocol.");

    public static readonly Goodbye TooLarge = new(
        "message.too-large", $"A message was over {HostProtocolLimits.MessageBytesMax} bytes.");

    public static readonly Goodbye Unexpected = new("message.unexpected", "The first message is hello, and only the first.");

    public static readonly Goodbye Silent = new(
        "session.silent", $"Nothing was heard for {HostSession.SilenceMax.TotalSeconds:0} s.");

    public static readonly Goodbye Superseded = new("session.superseded", "A newer session of this host was opened.");

    public static readonly Goodbye ServerStopping = new("server.stopping", "The server stops.");

    public static readonly Goodbye Unavailable = new("server.unavailable", "The control plane did not answer in time.");

    public static Goodbye Version(int theirs) => new(
        "protocol.version", $"This server speaks version {HostProtocolLimits.Version} of the host protocol, the host version {theirs}. Update the older one.");

    public static Goodbye Identity(string certificate, string claimed) => new(
        "session.identity", $"The certificate says {certificate}, the message says {Shorten(claimed)}.");

    public static Goodbye MalformedBecause(string reason) => Malformed with { Reason = $"{Malformed.Reason} {Shorten(reason)}" };

    public static Goodbye Of(Problem problem) => new(problem.Code, $"{problem.Title}. {problem.Cause} {problem.Action}");

    private static string Shorten(string text) => new([.. text.Take(160).Select(c => char.IsControl(c) ? '?' : c)]);
}
