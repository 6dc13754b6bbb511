using System.Collections.Immutable;
using System.Net.WebSockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

/// <summary>A host's end of its session, played by the test message by message.</summary>
public sealed class SessionClient : IDisposable
{
    private static readonly TimeSpan WaitMax = TimeSpan.FromSeconds(20);

    private readonly ClientWebSocket _socket = new();
    private readonly byte[] _buffer = new byte[HostProtocolLimits.MessageBytesMax];

    private SessionClient(string host) => Host = host;

    public string Host { get; }

    public static async Task<SessionClient> DialAsync(RunningServer server, string host, X509Certificate2? certificate)
    {
        var client = new SessionClient(host);
        if (certificate is not null) client._socket.Options.ClientCertificates.Add(certificate);
        client._socket.Options.CollectHttpResponseDetails = true;
        client._socket.Options.RemoteCertificateValidationCallback = (_, presented, _, _) =>
        {
            using var chain = new X509Chain { ChainPolicy = server.Policy() };
            return presented is X509Certificate2 leaf && chain.Build(leaf);
        };
        using var deadline = new CancellationTokenSource(WaitMax);
        await client._socket.ConnectAsync(new Uri(server.Address.ToString().Replace("https", "wss") + HostProtocolLimits.Path.TrimStart('/')), deadline.Token);
        return client;
    }

    public HostHello Hello() => new(
        HostProtocolLimits.Version, Host, Guid.NewGuid(), "0.1", "10.0.0.1:7410", "10.0.0.1:7411", new HostCapacity(2, 1 << 30, "QEMU 7.2.0"))
    {
        Recovers = true,
    };

    public async Task SayHelloAsync()
    {
        await SendAsync(Hello());
        Assert.Equal(Host, Assert.IsType<Welcome>(await ReceiveAsync()).Host);
    }

    public Task SendAsync(HostMessage message) => SendTextAsync(JsonSerializer.Serialize(message, HostProtocolJson.Default.HostMessage));

    public async Task SendTextAsync(string text, WebSocketMessageType type = WebSocketMessageType.Text)
    {
        using var deadline = new CancellationTokenSource(WaitMax);
        await _socket.SendAsync(Encoding.UTF8.GetBytes(text), type, true, deadline.Token);
    }

    public async Task<GatewayMessage> ReceiveAsync()
    {
        using var deadline = new CancellationTokenSource(WaitMax);
        var length = 0;
        while (true)
        {
            var part = await _socket.ReceiveAsync(_buffer.AsMemory(length), deadline.Token);
            Assert.Equal(WebSocketMessageType.Text, part.MessageType);
            length += part.Count;
            if (part.EndOfMessage) return JsonSerializer.Deserialize(_buffer.AsSpan(0, length), HostProtocolJson.Default.GatewayMessage)!;
        }
    }

    /// <summary>The next message of a type; others are passed over.</summary>
    public async Task<T> ReceiveAsync<T>(Func<T, bool>? matches = null)
        where T : GatewayMessage
    {
        while (true)
            if (await ReceiveAsync() is T message && (matches is null || matches(message)))
                return message;
    }

    /// <summary>The gateway says goodbye and closes.</summary>
    public async Task<string> GoodbyeAsync()
    {
        var goodbye = await ReceiveAsync<Goodbye>();
        using var deadline = new CancellationTokenSource(WaitMax);
        Assert.Equal(WebSocketMessageType.Close, (await _socket.ReceiveAsync(_buffer.AsMemory(), deadline.Token)).MessageType);
        await _socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, deadline.Token);
        return goodbye.Code;
    }

    /// <summary>Waits for desired state with a module that matches and says that it can live here.</summary>
    public async Task AcceptAsync()
    {
        var desired = await ReceiveAsync<DesiredState>(state => state.Modules.Length > 0);
        await SendAsync(new ObservedState(desired.Version, true, [Observe(desired.Modules[0]) with { Preparation = new PreparationVerdict(true, null) }]));
    }

    public static ObservedModule Observe(DesiredModule module) => new(
        module.Module, "STOP", true, "UpToDate", module.Record, "stop.command", "Stopped by command.", 1, null,
        new ObservedReplication(false, false, false, 0, 0, 0, 0, 0, null), null, [], [], []);

    /// <summary>Waits for the question of a restored control plane and answers it with orders and records as they were.</summary>
    public async Task TellAsync(DesiredState kept, string peer, params RecordMessage?[] records)
    {
        var question = await ReceiveAsync<Recover>();
        await SendAsync(new Recovered(question.Generation, peer, kept.ClusterText,
            [.. kept.Modules.Select((module, index) => new RecoveredModule(module, records[index], "UpToDate"))]));
    }

    public void Dispose() => _socket.Dispose();
}
