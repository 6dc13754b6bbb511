using System.Diagnostics;
using System.Net.WebSockets;
using System.Text.Json;
using System.Threading.Channels;
using Pollux.Gateway.Server;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.HostProtocol;

namespace Pollux.Gateway.Sessions;

/// <summary>One host's session, from its hello to its end.</summary>
/// <remarks>
/// Four loops share the socket, one reads, one sends. Reading never waits for grains: reports go into a slot of which only the newest
/// counts, arbitrations run side by side up to a limit. At that limit, and when the bounded send queue is full, reading waits: back-pressure
/// through TCP to the host. The first loop that ends ends all; what ended it is told to the host, if it still listens. Cancelling a
/// WebSocket's operation aborts the connection, so reading and sending are not cancelled: silence is measured beside them, and after the
/// goodbye the host's messages are passed over until it closes.
/// </remarks>
internal sealed partial class HostSession(WebSocket socket, string host, string publicKeyHash, IGrainFactory grains, ILogger<HostSession> log)
    : IHostSessionObserver
{
    /// <summary>Three of the host's heartbeats.</summary>
    public static readonly TimeSpan SilenceMax = TimeSpan.FromSeconds(15);

    private static readonly TimeSpan HelloMax = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan SendMax = TimeSpan.FromSeconds(10);

    /// <summary>Time for the host to close after the goodbye.</summary>
    private static readonly TimeSpan CloseMax = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan AskToRecoverEvery = TimeSpan.FromSeconds(10);

    /// <summary>A hint may be lost; then a change of desired state waits this long.</summary>
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(3);

    /// <summary>A grain call that takes longer has an unknown outcome. Hosts repeat an arbitration after 2 s at the latest.</summary>
    private static readonly TimeSpan GrainCallMax = TimeSpan.FromSeconds(5);

    /// <summary>Each of up to 256 modules may have one open, and hosts repeat theirs.</summary>
    private const int ArbitrationsMax = 64;

    private const int SendQueueMax = 256;

    private readonly Guid _sessionId = Guid.NewGuid();
    private readonly IHostGrain _grain = grains.GetGrain<IHostGrain>(host);
    private readonly Channel<GatewayMessage> _down = Channel.CreateBounded<GatewayMessage>(SendQueueMax);
    private readonly Channel<bool> _look = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly Channel<HostReport> _reports = Channel.CreateBounded<HostReport>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest });
    private readonly SemaphoreSlim _arbitrations = new(ArbitrationsMax);
    private Grains.Abstractions.HostSession? _hello;
    private Task<(HostMessage? Message, Goodbye? End)> _reading = Task.FromResult<(HostMessage?, Goodbye?)>((null, null));
    private bool _recovers;
    private long _askedToRecover = Stopwatch.GetTimestamp() - (long)(AskToRecoverEvery.TotalSeconds * Stopwatch.Frequency);
    private int _recovering;
    private long _heard = Stopwatch.GetTimestamp();

    Task IHostSessionObserver.DesiredChangedAsync()
    {
        _look.Writer.TryWrite(true);
        return Task.CompletedTask;
    }

    /// <param name="stopping">The server stops: say goodbye.</param>
    /// <param name="aborted">The connection is gone.</param>
    public async Task RunAsync(CancellationToken stopping, CancellationToken aborted)
    {
        using var reader = new HostMessageReader(socket);
        var observer = grains.CreateObjectReference<IHostSessionObserver>(this);
        try
        {
            var goodbye = await OpenAsync(reader, observer, aborted) ?? await ServeAsync(reader, observer, stopping, aborted);
            if (goodbye is not null) await SayGoodbyeAsync(reader, goodbye);
        }
        catch (Exception e) when (e is WebSocketException or OperationCanceledException or IOException)
        {
            LogBroken(host, e.Message);
        }
        finally
        {
            grains.DeleteObjectReference<IHostSessionObserver>(observer);
            await CloseAsync();
            // The reader's buffer goes back to the pool after the last read into it has ended.
            socket.Abort();
            await _reading.ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }
    }

    /// <returns>Null if the session is open.</returns>
    private async Task<Goodbye?> OpenAsync(HostMessageReader reader, IHostSessionObserver observer, CancellationToken aborted)
    {
        (HostMessage? Message, Goodbye? End) first;
        try
        {
            first = await ReadAsync(reader, aborted).WaitAsync(HelloMax, aborted);
        }
        catch (TimeoutException)
        {
            return SessionProblems.Silent;
        }
        var (message, end) = first;
        if (end is not null) return end;
        if (message is not HostHello hello) return SessionProblems.Unexpected;
        if (hello.ProtocolVersion != HostProtocolLimits.Version) return SessionProblems.Version(hello.ProtocolVersion);
        if (hello.Host != host) return SessionProblems.Identity(host, hello.Host ?? "nothing");
        try
        {
            _hello = ProtocolMapping.ToSession(hello, _sessionId, publicKeyHash);
            _recovers = hello.Recovers;
        }
        catch (JsonException e)
        {
            return SessionProblems.MalformedBecause(e.Message);
        }
        if (await OpenSessionAsync(observer) is { } refused) return refused;
        await SendAsync(new Welcome(HostProtocolLimits.Version, host, GrainKey.ClusterOf(host)), aborted);
        return null;
    }

    private async Task<Goodbye?> OpenSessionAsync(IHostSessionObserver observer)
    {
        try
        {
            var outcome = await _grain.OpenSessionAsync(_hello!, observer).WaitAsync(GrainCallMax);
            return outcome.Problem is { } problem ? SessionProblems.Of(problem) : null;
        }
        catch (Exception e) when (GrainFailure.IsOne(e))
        {
            LogGrainCall(host, "open session", e.Message);
            return SessionProblems.Unavailable;
        }
    }

    private async Task<Goodbye?> ServeAsync(HostMessageReader reader, IHostSessionObserver observer, CancellationToken stopping, CancellationToken aborted)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stopping, aborted);
        Task<Goodbye?>[] loops =
        [
            ReceiveAsync(reader, aborted, end.Token), SendLoopAsync(aborted, end.Token), SilenceLoopAsync(end.Token),
            LookLoopAsync(observer, end.Token), ReportLoopAsync(observer, end.Token),
        ];
        var first = await Task.WhenAny(loops);
        await end.CancelAsync();
        await Task.WhenAll(loops).ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        if (stopping.IsCancellationRequested) return SessionProblems.ServerStopping;
        return await first;
    }

    private async Task<Goodbye?> ReceiveAsync(HostMessageReader reader, CancellationToken aborted, CancellationToken cancel)
    {
        while (true)
        {
            var (message, end) = await ReadAsync(reader, aborted).WaitAsync(cancel);
            if (message is null) return end;
            Interlocked.Exchange(ref _heard, Stopwatch.GetTimestamp());
            switch (message)
            {
                case Ping ping:
                    Count("ping");
                    await _down.Writer.WriteAsync(new Pong(ping.Sequence), cancel);
                    break;
                case ObservedState observed:
                    Count("observed");
                    try
                    {
                        _reports.Writer.TryWrite(ProtocolMapping.ToReport(observed, GrainKey.ClusterOf(host)));
                    }
                    catch (JsonException e)
                    {
                        return SessionProblems.MalformedBecause(e.Message);
                    }
                    break;
                case Recovered recovered:
                    Count("recovered");
                    if (!RecoveryMapping.IsComplete(recovered, GrainKey.ClusterOf(host))) return SessionProblems.MalformedBecause("recovered is not complete.");
                    _ = RecoveredAsync(recovered);
                    break;
                case ArbitrationRequest request:
                    Count("arbitrate");
                    if (request.By != host) return SessionProblems.Identity(host, request.By ?? "nothing");
                    if (!ProtocolMapping.IsComplete(request, GrainKey.ClusterOf(host))) return SessionProblems.Malformed;
                    await _arbitrations.WaitAsync(cancel);
                    _ = ArbitrateAsync(request, cancel);
                    break;
                default:
                    return SessionProblems.Unexpected;
            }
        }
    }

    private Task<(HostMessage? Message, Goodbye? End)> ReadAsync(HostMessageReader reader, CancellationToken aborted) =>
        _reading = reader.ReadAsync(aborted);

    private async Task<Goodbye?> SilenceLoopAsync(CancellationToken cancel)
    {
        while (true)
        {
            var silence = Stopwatch.GetElapsedTime(Interlocked.Read(ref _heard));
            if (silence >= SilenceMax) return SessionProblems.Silent;
            await Task.Delay(SilenceMax - silence, cancel);
        }
    }

    private async Task ArbitrateAsync(ArbitrationRequest request, CancellationToken cancel)
    {
        var started = Stopwatch.GetTimestamp();
        ArbitrationAnswer answer;
        try
        {
            // Not cancelled with the session: what was asked is decided.
            var result = await grains.GetGrain<IMirrorModuleGrain>(request.Module).ArbitrateAsync(ProtocolMapping.ToCall(request))
                .WaitAsync(GrainCallMax, CancellationToken.None);
            answer = ProtocolMapping.ToAnswer(request, result);
        }
        catch (Exception e) when (GrainFailure.IsOne(e, CancellationToken.None))
        {
            // It may have been decided, or may yet be: the host repeats the request with the same id.
            LogGrainCall(host, "arbitrate", e.Message);
            answer = new ArbitrationAnswer(request.OperationId, request.Module, "unknown", null, "The control plane did not learn the outcome.");
        }
        finally
        {
            _arbitrations.Release();
        }
        GatewayTelemetry.ArbitrationDuration.Record(
            Stopwatch.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("outcome", answer.Outcome));
        try
        {
            await _down.Writer.WriteAsync(answer, cancel);
        }
        catch (OperationCanceledException)
        {
            // The session ended; the host asks again in its next one.
        }
    }

    private async Task<Goodbye?> LookLoopAsync(IHostSessionObserver observer, CancellationToken cancel)
    {
        long sent = -1;
        while (true)
        {
            try
            {
                var answer = await _grain.DesiredAsync(_sessionId).WaitAsync(GrainCallMax, cancel);
                if (answer.Standing == SessionStanding.Superseded) return SessionProblems.Superseded;
                if (answer.Standing == SessionStanding.Forgotten)
                {
                    if (await OpenSessionAsync(observer) is { } refused) return refused;
                    continue;
                }
                if (answer.Recover is { } generation) await AskToRecoverAsync(generation, cancel);
                if (answer.Desired is { } desired && desired.Version != sent)
                {
                    await _down.Writer.WriteAsync(ProtocolMapping.ToDesired(desired), cancel);
                    sent = desired.Version;
                }
            }
            catch (Exception e) when (GrainFailure.IsOne(e, cancel))
            {
                LogGrainCall(host, "look", e.Message);
            }
            await WaitForHintAsync(cancel);
        }
    }

    /// <summary>Asked again as long as the answer is of use: it may be lost with the server, and a copy's state may change.</summary>
    private async Task AskToRecoverAsync(long generation, CancellationToken cancel)
    {
        if (!_recovers || Stopwatch.GetElapsedTime(_askedToRecover) < AskToRecoverEvery) return;
        _askedToRecover = Stopwatch.GetTimestamp();
        await _down.Writer.WriteAsync(new Recover(generation), cancel);
    }

    /// <summary>One at a time, and none waits: the host is asked again.</summary>
    private async Task RecoveredAsync(Recovered recovered)
    {
        if (Interlocked.Exchange(ref _recovering, 1) == 1) return;
        try
        {
            await grains.GetGrain<IClusterGrain>(GrainKey.ClusterOf(host)).RecoveredAsync(GrainKey.NameOf(host), RecoveryMapping.ToMemory(recovered))
                .WaitAsync(GrainCallMax);
        }
        catch (Exception e) when (GrainFailure.IsOne(e))
        {
            LogGrainCall(host, "recovered", e.Message);
        }
        finally
        {
            Interlocked.Exchange(ref _recovering, 0);
        }
    }

    private async Task WaitForHintAsync(CancellationToken cancel)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        patience.CancelAfter(LookEvery);
        try
        {
            await _look.Reader.ReadAsync(patience.Token);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            // No hint: look anyway.
        }
    }

    private async Task<Goodbye?> ReportLoopAsync(IHostSessionObserver observer, CancellationToken cancel)
    {
        await foreach (var report in _reports.Reader.ReadAllAsync(cancel))
        {
            try
            {
                var standing = await _grain.ReportAsync(_sessionId, report).WaitAsync(GrainCallMax, cancel);
                if (standing == SessionStanding.Superseded) return SessionProblems.Superseded;
                // Forgotten: the look loop opens the session again, and the host repeats its report every few seconds.
            }
            catch (Exception e) when (GrainFailure.IsOne(e, cancel))
            {
                LogGrainCall(host, "report", e.Message);
            }
        }
        return null;
    }

    private async Task<Goodbye?> SendLoopAsync(CancellationToken aborted, CancellationToken cancel)
    {
        await foreach (var message in _down.Reader.ReadAllAsync(cancel)) await SendAsync(message, aborted);
        return null;
    }

    private async Task SendAsync(GatewayMessage message, CancellationToken aborted)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(aborted);
        deadline.CancelAfter(SendMax);
        var json = JsonSerializer.SerializeToUtf8Bytes(message, HostProtocolJson.Default.GatewayMessage);
        await socket.SendAsync(json, WebSocketMessageType.Text, endOfMessage: true, deadline.Token);
    }

    private async Task SayGoodbyeAsync(HostMessageReader reader, Goodbye goodbye)
    {
        LogGoodbye(host, goodbye.Code, goodbye.Reason);
        GatewayTelemetry.SessionsRefused.Add(1, new KeyValuePair<string, object?>("code", goodbye.Code));
        if (socket.State is not (WebSocketState.Open or WebSocketState.CloseReceived)) return;
        await SendAsync(goodbye, CancellationToken.None);
        using var deadline = new CancellationTokenSource(SendMax);
        await socket.CloseOutputAsync(WebSocketCloseStatus.PolicyViolation, goodbye.Code, deadline.Token);

        // Closing with unread data would reset the connection and take the goodbye along.
        using var patience = new CancellationTokenSource(CloseMax);
        await _reading.WaitAsync(patience.Token);
        await reader.SkipToCloseAsync(patience.Token);
    }

    private async Task CloseAsync()
    {
        try
        {
            await _grain.CloseSessionAsync(_sessionId).WaitAsync(GrainCallMax);
        }
        catch (Exception e) when (GrainFailure.IsOne(e))
        {
            // The grain finds the silence by itself.
            LogGrainCall(host, "close session", e.Message);
        }
    }

    private static void Count(string type) => GatewayTelemetry.Messages.Add(1, new KeyValuePair<string, object?>("type", type));

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host session ended by the gateway host={Host} code={Code} reason=\"{Reason}\"")]
    private partial void LogGoodbye(string host, string code, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Host connection ended host={Host} reason=\"{Reason}\"")]
    private partial void LogBroken(string host, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Grain call failed host={Host} call=\"{Call}\" reason=\"{Reason}\"")]
    private partial void LogGrainCall(string host, string call, string reason);
}
