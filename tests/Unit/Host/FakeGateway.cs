using System.Net;
using System.Net.Security;
using System.Net.WebSockets;
using System.Security.Authentication;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.Logging;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Hosts;

/// <summary>A scripted gateway: real Kestrel, real TLS; each session is handed to the test, which plays the server's part.</summary>
internal sealed class FakeGateway : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly Channel<Session> _sessions = Channel.CreateUnbounded<Session>();

    private FakeGateway(WebApplication app) => _app = app;

    public Uri Address { get; private set; } = null!;

    /// <summary>Answers a join with any status and body.</summary>
    public Func<JoinRequest, (int Status, string Body)> OnJoin { get; set; } = _ => (500, "");

    public static async Task<FakeGateway> StartAsync(TestAuthority authority, int port = 0, SslProtocols protocols = SslProtocols.Tls13)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port, listen =>
        {
            listen.Protocols = HttpProtocols.Http1;
            listen.UseHttps(https =>
            {
                https.ServerCertificate = authority.Gateway();
                https.SslProtocols = protocols;
                https.ClientCertificateMode = ClientCertificateMode.AllowCertificate;
                https.AllowAnyClientCertificate();
            });
        }));
        var app = builder.Build();
        app.UseWebSockets();
        var gateway = new FakeGateway(app);
        app.MapGet(JoinRequest.AuthorityPath, () => authority.CertificatePem);
        app.MapPost(JoinRequest.Path, async (HttpContext context) =>
        {
            var request = await JsonSerializer.DeserializeAsync(context.Request.Body, JoiningJson.Default.JoinRequest);
            (context.Response.StatusCode, var body) = gateway.OnJoin(request!);
            await context.Response.WriteAsync(body);
        });
        app.Map(HostProtocolLimits.Path, async (HttpContext context) =>
        {
            using var socket = await context.WebSockets.AcceptWebSocketAsync();
            var session = new Session(socket);
            gateway._sessions.Writer.TryWrite(session);
            await session.Ended;
        });
        await app.StartAsync();
        gateway.Address = new Uri(app.Urls.Single().Replace("127.0.0.1", "localhost", StringComparison.Ordinal));
        return gateway;
    }

    public async Task<Session> NextSessionAsync(CancellationToken cancel) => await _sessions.Reader.ReadAsync(cancel);

    public async ValueTask DisposeAsync()
    {
        using var now = new CancellationTokenSource(TimeSpan.Zero);
        await _app.StopAsync(now.Token);
        await _app.DisposeAsync();
    }

    internal sealed class Session(WebSocket socket)
    {
        private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly byte[] _buffer = new byte[HostProtocolLimits.MessageBytesMax];

        public Task Ended => _ended.Task;

        public async Task<HostHello> WelcomeAsync(CancellationToken cancel)
        {
            var hello = Assert.IsType<HostHello>(await ReadAsync(cancel));
            await SendAsync(new Welcome(HostProtocolLimits.Version, hello.Host, hello.Host.Split('/')[0]), cancel);
            return hello;
        }

        public Task SendAsync(GatewayMessage message, CancellationToken cancel) =>
            SendTextAsync(JsonSerializer.Serialize(message, HostProtocolJson.Default.GatewayMessage), cancel);

        public Task SendTextAsync(string text, CancellationToken cancel) =>
            socket.SendAsync(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, true, cancel);

        public async Task<HostMessage> ReadAsync(CancellationToken cancel)
        {
            var length = 0;
            while (true)
            {
                var part = await socket.ReceiveAsync(_buffer.AsMemory(length), cancel);
                length += part.Count;
                if (part.EndOfMessage)
                    return JsonSerializer.Deserialize(_buffer.AsSpan(0, length), HostProtocolJson.Default.HostMessage)!;
            }
        }

        /// <summary>Reads on until a message of this kind comes, answering pings.</summary>
        public async Task<T> ReadAsync<T>(CancellationToken cancel)
            where T : HostMessage
        {
            while (true)
            {
                switch (await ReadAsync(cancel))
                {
                    case T wanted:
                        return wanted;
                    case Ping ping:
                        await SendAsync(new Pong(ping.Sequence), cancel);
                        break;
                }
            }
        }

        /// <summary>Waits until the host has ended the session.</summary>
        public async Task SeeItEndAsync(CancellationToken cancel)
        {
            try
            {
                while ((await socket.ReceiveAsync(_buffer, cancel)).MessageType != WebSocketMessageType.Close)
                {
                }
            }
            catch (Exception e) when (e is WebSocketException or Microsoft.AspNetCore.Connections.ConnectionAbortedException)
            {
                // An abort is an end as well.
            }

            _ended.TrySetResult();
        }

        public void Break()
        {
            socket.Abort();
            _ended.TrySetResult();
        }
    }
}
