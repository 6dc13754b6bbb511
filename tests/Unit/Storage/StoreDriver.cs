using System.Text;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.Tests.Unit.Storage;

/// <summary>Short forms of mutations for tests; names as text.</summary>
internal sealed class StoreDriver(ObjectStore store) : IDisposable
{
    public const ulong Root = ObjectStore.RootObject;

    private ulong lastId = 1UL << 32;

    public ObjectStore Store { get; } = store;

    public ulong NextId() => lastId = Math.Max(lastId, Store.HighestId) + 1;

    public static byte[] Bytes(string name) => Encoding.UTF8.GetBytes(name);

    public int Try(Mutation mutation) => Store.Apply(mutation, out _, out _);

    public ulong File(ulong parent, string name, string content = "", uint mode = 0x1A4) => Make(new(MutationKind.CreateFile) { Mode = StMode.Regular | mode }, parent, name, content);

    public ulong Directory(ulong parent, string name, uint mode = 0x1ED) => Make(new(MutationKind.MakeDirectory) { Mode = StMode.Directory | mode }, parent, name);

    public ulong Symlink(ulong parent, string name, string target) => Make(new(MutationKind.Symlink) { Data = Bytes(target) }, parent, name);

    public ulong Make(Mutation mutation, ulong parent, string name, string content = "")
    {
        var id = NextId();
        Assert.Equal(0, Try(mutation with { Object = id, Parent = parent, Name = Bytes(name) }));
        if (content.Length > 0)
            Write(id, 0, content);
        return id;
    }

    public void Write(ulong obj, long offset, string content) => Assert.Equal(0, Store.Write(obj, offset, Bytes(content)));

    public string Read(ulong obj)
    {
        var buffer = new byte[4096];
        Assert.Equal(0, Store.Read(obj, 0, buffer, out var count));
        return Encoding.UTF8.GetString(buffer, 0, count);
    }

    public ulong Lookup(ulong parent, string name)
    {
        Assert.Equal(0, Store.Lookup(parent, Bytes(name), out var attributes));
        return attributes.Object;
    }

    public int LookupError(ulong parent, string name) => Store.Lookup(parent, Bytes(name), out _);

    public ObjectAttributes Attributes(ulong obj)
    {
        Assert.Equal(0, Store.GetAttributes(obj, out var attributes));
        return attributes;
    }

    public int Link(ulong obj, ulong parent, string name) => Try(new(MutationKind.Link) { Object = obj, Parent = parent, Name = Bytes(name) });

    public int Unlink(ulong parent, string name) => Try(new(MutationKind.Unlink) { Parent = parent, Name = Bytes(name) });

    public int RemoveDirectory(ulong parent, string name) => Try(new(MutationKind.RemoveDirectory) { Parent = parent, Name = Bytes(name) });

    public int Release(ulong obj) => Try(new(MutationKind.Release) { Object = obj });

    public int Rename(ulong parent, string name, ulong newParent, string newName, uint flags = 0) =>
        Try(new(MutationKind.Rename) { Parent = parent, Name = Bytes(name), NewParent = newParent, NewName = Bytes(newName), Flags = flags });

    public int SetXattr(ulong obj, string name, string value, uint flags = 0) =>
        Try(new(MutationKind.SetXattr) { Object = obj, Name = Bytes(name), Data = Bytes(value), Flags = flags });

    public string Xattr(ulong obj, string name)
    {
        var value = new byte[256];
        Assert.Equal(0, Store.GetXattr(obj, Bytes(name), value, out var length));
        return Encoding.UTF8.GetString(value, 0, length);
    }

    public List<string> List(ulong directory, int entriesMaxPerCall = int.MaxValue)
    {
        var names = new List<string>();
        long cookie = 0;
        bool more;
        do
        {
            more = false;
            var left = entriesMaxPerCall;
            Assert.Equal(0, Store.ReadDirectory(directory, cookie, (ReadOnlySpan<byte> name, in ObjectAttributes attributes, long next) =>
            {
                if (left-- == 0)
                {
                    more = true;
                    return false;
                }
                names.Add(Encoding.UTF8.GetString(name));
                cookie = next;
                return true;
            }));
        }
        while (more);
        return names;
    }

    public void Dispose() => Store.Dispose();
}
