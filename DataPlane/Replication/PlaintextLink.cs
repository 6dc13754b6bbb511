using System.Net.Sockets;
using System.Text;

namespace Pollux.DataPlane.Replication;

/// <summary>How two hosts that have authenticated each other over TLS go on without encryption, where the cluster's policy says so.</summary>
/// <remarks>
/// <code>
/// dialler                                   listener
///    first connection: mutual TLS
///    "PLXK", length (2), module  ──────────►   may the module's link be plain?
///    ◄──────────  "PLXK", 1, token (32 bytes)  valid once, for some seconds, for this peer and this module
///    ◄──────────  "PLXK", 0, zeros             it may not: the session goes on in this connection, encrypted
///    second connection: plain TCP
///    "TPLX", token  ───────────────────────►   the first connection has been closed
///    frames, from Hello on, unencrypted
/// </code>
/// What this gives up: who can read the wire reads the data; who can write on it can change frames and their checksums, or go on with
/// the connection in a host's place. It is for links that nobody else reaches: a crossover cable, a network of its own.
/// </remarks>
internal static class PlaintextLink
{
    public const int TokenBytes = 32;

    /// <summary>Length of the listener's answer, bytes.</summary>
    public const int AnswerBytes = 5 + TokenBytes;

    /// <summary>Length of what opens the second connection, bytes.</summary>
    public const int OpeningBytes = 4 + TokenBytes;

    private const int ModuleBytesMax = Core.Replication.Hello.ModuleBytesMax;

    /// <summary>Opens the dialler's question.</summary>
    public static ReadOnlySpan<byte> QuestionMagic => "PLXK"u8;

    /// <summary>Opens the second connection. No TLS record and no frame begins with a T.</summary>
    public static ReadOnlySpan<byte> OpeningMagic => "TPLX"u8;

    /// <summary>Dials, asks for a plain connection, and dials it; stays with TLS where the listener does not allow it.</summary>
    /// <param name="dialTcp">Gets the number of a network.</param>
    /// <exception cref="IOException">The listener closed, or answered with something else.</exception>
    public static async ValueTask<LinkConnection> DialAsync(
        string module, Func<CancellationToken, ValueTask<LinkConnection>> dialTls, Func<int, CancellationToken, ValueTask<Socket>> dialTcp,
        CancellationToken cancel)
    {
        var tls = await dialTls(cancel).ConfigureAwait(false);
        var answer = new byte[AnswerBytes];
        try
        {
            await tls.Stream.WriteAsync(Question(module), cancel).ConfigureAwait(false);
            await tls.Stream.ReadExactlyAsync(answer, cancel).ConfigureAwait(false);
            if (!answer.AsSpan(0, 4).SequenceEqual(QuestionMagic) || answer[4] > 1)
                throw new IOException("the peer does not understand the question for a plaintext link");
            if (answer[4] == 0)
                return tls;
        }
        catch
        {
            await tls.DisposeAsync().ConfigureAwait(false);
            throw;
        }
        await tls.DisposeAsync().ConfigureAwait(false);
        // Over the same network, which answers.
        var plain = LinkConnection.Plain(await dialTcp(tls.Network, cancel).ConfigureAwait(false));
        plain.Network = tls.Network;
        try
        {
            byte[] opening = [.. OpeningMagic, .. answer.AsSpan(5)];
            await plain.Stream.WriteAsync(opening, cancel).ConfigureAwait(false);
            return plain;
        }
        catch
        {
            await plain.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Reads the rest of a question, after its magic.</summary>
    /// <returns>The module, or null if it is none.</returns>
    public static async ValueTask<string?> ReadQuestionAsync(Stream stream, CancellationToken cancel)
    {
        var length = new byte[2];
        await stream.ReadExactlyAsync(length, cancel).ConfigureAwait(false);
        var bytes = BitConverter.ToUInt16(length);
        if (bytes is 0 or > ModuleBytesMax)
            return null;
        var module = new byte[bytes];
        await stream.ReadExactlyAsync(module, cancel).ConfigureAwait(false);
        return Encoding.UTF8.GetString(module);
    }

    /// <param name="token">Empty: the link stays encrypted.</param>
    public static byte[] Answer(ReadOnlySpan<byte> token)
    {
        var answer = new byte[AnswerBytes];
        QuestionMagic.CopyTo(answer);
        answer[4] = token.IsEmpty ? (byte)0 : (byte)1;
        token.CopyTo(answer.AsSpan(5));
        return answer;
    }

    private static byte[] Question(string module)
    {
        var name = Encoding.UTF8.GetBytes(module);
        if (name.Length is 0 or > ModuleBytesMax)
            throw new ArgumentException("The module's key is empty or too long.", nameof(module));
        return [.. QuestionMagic, (byte)name.Length, (byte)(name.Length >> 8), .. name];
    }
}
