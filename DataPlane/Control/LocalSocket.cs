using System.Net.Sockets;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Control;

/// <summary>Gives whoever connects to a Unix socket the present status as JSON, and closes: a host can be looked at without a control
/// plane. Only root may connect.</summary>
public sealed class LocalSocket : IAsyncDisposable
{
    private const int WaitingMax = 8;
    private static readonly TimeSpan WriteMax = TimeSpan.FromSeconds(2);

    private readonly Socket _listener;
    private readonly Func<byte[]> _status;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;

    /// <exception cref="SocketException">The path cannot be bound.</exception>
    public LocalSocket(string path, Func<byte[]> status)
    {
        _status = status;
        File.Delete(path);
        _listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        _listener.Bind(new UnixDomainSocketEndPoint(path));
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        _listener.Listen(WaitingMax);
        _loop = Task.Run(RunAsync);
    }

    /// <summary>Reads the status of the host that listens on the path.</summary>
    /// <exception cref="SocketException">None does.</exception>
    public static async Task<byte[]> ReadAsync(string path, CancellationToken cancel)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel).ConfigureAwait(false);
        using var answer = new MemoryStream();
        using var stream = new NetworkStream(socket);
        await stream.CopyToAsync(answer, cancel).ConfigureAwait(false);
        return answer.ToArray();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _loop.ConfigureAwait(false);
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                using var client = await _listener.AcceptAsync(_stop.Token).ConfigureAwait(false);
                using var deadline = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                deadline.CancelAfter(WriteMax);
                ReadOnlyMemory<byte> rest = _status();
                while (rest.Length > 0)
                    rest = rest[await client.SendAsync(rest, deadline.Token).ConfigureAwait(false)..];
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                if (!_stop.IsCancellationRequested)
                    HostLog.Warn("status", "somebody asked and did not read the answer", ("reason", e.Message));
            }
        }
    }
}
