using System.Net.Sockets;
using System.Net.WebSockets;
using System.Security.Authentication;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Control;

/// <summary>The host's side of the dialogue with the control plane (<see cref="HostProtocolLimits"/>).</summary>
/// <remarks>
/// One loop connects, and reconnects after a jittered pause; within a session one loop receives and one sends. What goes up is never
/// queued: the observed state is taken fresh when it is sent, and open questions are kept by operation id in <see cref="Questions"/>,
/// sent anew on each session until they are answered or their deadline makes the answer <c>unknown</c>.
/// </remarks>
public sealed class ControlLink : IAsyncDisposable
{
    private readonly HostIdentity _identity;
    private readonly HostTls _tls;
    private readonly Func<HostHello> _hello;
    private readonly IControlEvents _events;
    private readonly ControlLinkOptions _options;
    private readonly Questions _questions;
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _connectedOnce = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _loop = Task.CompletedTask;
    private volatile string _status = "not connected yet";
    private volatile bool _connected;
    private volatile CancellationTokenSource? _session;
    private volatile string? _renewal;
    private Recovered? _recovered;
    private int _changed;

    public ControlLink(HostIdentity identity, HostTls tls, Func<HostHello> hello, IControlEvents events, ControlLinkOptions options)
    {
        _identity = identity;
        _tls = tls;
        _hello = hello;
        _events = events;
        _options = options;
        _questions = new Questions(options.QuestionsMax);
    }

    public bool Connected => _connected;

    /// <summary>For people: the state of the link, and why it is down if it is.</summary>
    public string Status => _status;

    /// <summary>Completes when the first session was welcomed.</summary>
    public Task ConnectedOnce => _connectedOnce.Task;

    public void Start() => _loop = Vital.Run("control link", RunAsync);

    /// <summary>Something that <see cref="IControlEvents.Observe"/> shows has changed.</summary>
    public void Changed()
    {
        Volatile.Write(ref _changed, 1);
        Wake();
    }

    /// <summary>Ends the session and begins another: what the greeting says has changed.</summary>
    public void Renew(string reason)
    {
        _renewal = reason;
        _session?.Cancel();
    }

    /// <summary>Asks the arbiter. The answer comes by <see cref="IControlEvents.Arbitrated"/> within the deadline, as <c>unknown</c> at the latest.
    /// An id that is open already keeps its place and takes the new deadline.</summary>
    public void Ask(ArbitrationRequest request, long deadlineMs)
    {
        if (_questions.Put(request, BootClock.NowMs + deadlineMs))
            Wake();
        else
            _events.Arbitrated(Unknown(request, $"more than {_options.QuestionsMax} questions to the arbiter are open"));
    }

    /// <summary>Sends what this host knows, if the session still stands: in the next one it is asked for again.</summary>
    public void Tell(Recovered recovered)
    {
        _recovered = recovered;
        Wake();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
        _stop.Dispose();
        _wake.Dispose();
    }

    private void Wake()
    {
        lock (_wake)
        {
            if (_wake.CurrentCount == 0)
                _wake.Release();
        }
    }

    private async Task RunAsync()
    {
        // Deadlines of questions run with and without a session.
        var expiry = Vital.Run("deadlines of questions", ExpireAsync);
        while (!_stop.IsCancellationRequested)
        {
            string reason;
            try
            {
                reason = await SessionAsync().ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                break;
            }
            catch (Exception e) when (e is WebSocketException or IOException or AuthenticationException or HttpRequestException
                or OperationCanceledException or SocketException or InvalidDataException)
            {
                reason = Explain(e);
            }

            reason = Interlocked.Exchange(ref _renewal, null) ?? reason;

            var was = _connected;
            _connected = false;
            var status = $"no session with {_identity.Server}: {reason}";
            if (was || status != _status)
                HostLog.Warn("control", was ? "session lost" : "no session", ("server", _identity.Server), ("reason", reason));
            _status = status;
            var pause = Random.Shared.Next(_options.BackoffMsMin, _options.BackoffMsMax);
            await Task.Delay(pause, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await expiry.ConfigureAwait(false);
    }

    /// <summary>One session from dial to end.</summary>
    /// <returns>Why it ended.</returns>
    private async Task<string> SessionAsync()
    {
        using var socket = new ClientWebSocket();
        socket.Options.KeepAliveInterval = TimeSpan.Zero;
        using var handler = new SocketsHttpHandler { SslOptions = _tls.GatewayOptions(), UseProxy = false };
        using var invoker = new HttpMessageInvoker(handler, disposeHandler: false);
        var session = new CancellationTokenSource();
        using var ending = _stop.Token.Register(session.Cancel);
        _session = session;
        var channel = new MessageChannel(socket, _options.SendMs);
        using (var connect = CancellationTokenSource.CreateLinkedTokenSource(session.Token))
        {
            connect.CancelAfter(_options.ConnectMs);
            await socket.ConnectAsync(WebSocketUri(), invoker, connect.Token).ConfigureAwait(false);
            await channel.SendAsync(_hello(), connect.Token).ConfigureAwait(false);
            switch (await channel.ReceiveAsync(connect.Token).ConfigureAwait(false))
            {
                case Goodbye goodbye:
                    return $"the server said goodbye: {goodbye.Reason} ({goodbye.Code})";
                case Welcome welcome when welcome.Host == _identity.Host && welcome.ProtocolVersion == HostProtocolLimits.Version:
                    break;
                case Welcome welcome:
                    return $"the server speaks protocol {welcome.ProtocolVersion} to {welcome.Host}; "
                        + $"this is {_identity.Host} with protocol {HostProtocolLimits.Version}. Upgrade the older of the two.";
                default:
                    return "the server did not begin with a welcome";
            }
        }

        _connected = true;
        _status = $"connected to {_identity.Server}";
        HostLog.Info("control", "session up", ("server", _identity.Server));
        _questions.SendAllAnew();
        Changed();
        _events.Connected();
        _connectedOnce.TrySetResult();

        var receiving = ReceiveAsync(channel, session.Token);
        var sending = SendAsync(channel, session.Token);
        var first = await Task.WhenAny(receiving, sending).ConfigureAwait(false);
        await session.CancelAsync().ConfigureAwait(false);
        socket.Abort();
        Task both = Task.WhenAll(receiving, sending);
        await both.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return await first.ConfigureAwait(false);
    }

    private async Task<string> ReceiveAsync(MessageChannel channel, CancellationToken cancel)
    {
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        while (true)
        {
            silence.CancelAfter(_options.SilenceMs);
            GatewayMessage? message;
            try
            {
                message = await channel.ReceiveAsync(silence.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                return $"nothing came from the server for {_options.SilenceMs} ms";
            }

            switch (message)
            {
                case null:
                    return "the server closed the connection";
                case Goodbye goodbye:
                    return $"the server said goodbye: {goodbye.Reason} ({goodbye.Code})";
                case DesiredState desired:
                    _events.DesiredChanged(desired);
                    break;
                case ArbitrationAnswer answer when _questions.Take(answer.OperationId, answer.Module):
                    _events.Arbitrated(answer);
                    break;
                case ArbitrationAnswer:
                    // Its deadline has passed: the role machine was told "unknown" and repeats the question with the same id.
                    break;
                case Recover recover:
                    _events.RecoverAsked(recover);
                    break;
                case Pong:
                    break;
                default:
                    return $"the server sent an unexpected {message.GetType().Name}";
            }
        }
    }

    private async Task<string> SendAsync(MessageChannel channel, CancellationToken cancel)
    {
        long observedMs = long.MinValue / 2, pings = 0;
        while (true)
        {
            if (Interlocked.Exchange(ref _recovered, null) is { } recovered)
                await channel.SendAsync(recovered, cancel).ConfigureAwait(false);
            while (_questions.NextToSend() is { } question)
                await channel.SendAsync(question, cancel).ConfigureAwait(false);

            var now = BootClock.NowMs;
            var changed = Volatile.Read(ref _changed) != 0;
            var dueMs = observedMs + (changed ? _options.CoalesceMs : _options.RefreshMs);
            if (now >= dueMs)
            {
                Volatile.Write(ref _changed, 0);
                if (now >= observedMs + _options.RefreshMs)
                    await channel.SendAsync(new Ping(++pings), cancel).ConfigureAwait(false);
                observedMs = now;
                await channel.SendAsync(_events.Observe(), cancel).ConfigureAwait(false);
                continue;
            }

            await _wake.WaitAsync((int)Math.Min(dueMs - now, _options.RefreshMs), cancel).ConfigureAwait(false);
        }
    }

    private async Task ExpireAsync()
    {
        // Deadlines are of some hundred milliseconds and more; a tenth of the shortest is exact enough.
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(30));
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
            {
                while (_questions.TakeExpired(BootClock.NowMs) is { } question)
                    _events.Arbitrated(Unknown(question, _connected ? "the arbiter did not answer in time" : _status));
            }
        }
        catch (OperationCanceledException)
        {
            // The link is being closed; whoever asked is going as well.
        }
    }

    private static ArbitrationAnswer Unknown(ArbitrationRequest request, string reason) =>
        new(request.OperationId, request.Module, "unknown", null, reason);

    private Uri WebSocketUri() => new UriBuilder(_identity.Server) { Scheme = "wss", Path = HostProtocolLimits.Path }.Uri;

    private string Explain(Exception e) => e switch
    {
        OperationCanceledException => $"no connection within {_options.ConnectMs} ms",
        _ when Inner<AuthenticationException>(e) is not null =>
            "TLS failed: the server's certificate must come from the authority joined with and name this address, and it must accept ours",
        InvalidDataException => e.Message,
        _ => e.GetBaseException().Message,
    };

    private static T? Inner<T>(Exception? e)
        where T : Exception
    {
        for (; e is not null; e = e.InnerException)
        {
            if (e is T found)
                return found;
        }

        return null;
    }
}
